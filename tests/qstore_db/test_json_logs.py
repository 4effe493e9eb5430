"""Log records as lines of JSON, without a secret in any of them."""

import io
import json
import logging

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import TrainingInterruptedError
from qstore_db.observability.json_logs import JsonFormatter, log_as_json
from qstore_db.observability.training_log import TrainingLog
from qstore_db.training.progress import Silence


def line(message="", *values, environment=None, exc_info=None, **extra):
    record = logging.makeLogRecord(
        {
            "name": "qstore_db.x",
            "levelname": "INFO",
            "created": 1.5,
            "msg": message,
            "args": values,
            "exc_info": exc_info,
        }
    )
    vars(record).update(extra)
    text = JsonFormatter(environment or {}).format(record)
    assert "\n" not in text
    return json.loads(text)


@pytest.fixture
def logged():
    stream = io.StringIO()
    handler = log_as_json(stream, level="DEBUG")
    yield lambda: [json.loads(one) for one in stream.getvalue().splitlines()]
    logger = logging.getLogger("qstore_db")
    logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def test_a_record_has_its_fields_and_those_given():
    assert line("%d rows", 3, rows=3, ratio=0.5, name="é", nothing=None, parts=(1, "a")) == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "level": "INFO",
        "logger": "é",
        "message": "3 rows",
        "rows": 3,
        "ratio": 0.5,
        "nothing": None,
        "parts": [1, "a"],
    }


def test_what_json_has_no_form_for_becomes_text():
    found = line("x", vector=np.arange(2), bad=float("nan"), far=float("inf"), inner={"p": {1}})
    assert (found["vector"], found["bad"], found["far"], found["inner"]) == ("[0 1]", "nan", "inf", {"p": [1]})


def test_an_exception_is_told_with_its_traceback():
    try:
        raise ValueError("no\nsuch thing")
    except ValueError as error:
        found = line("failed", exc_info=(type(error), error, error.__traceback__))
    assert (found["error"], found["error_message"]) == ("ValueError", "no\nsuch thing")
    assert "test_json_logs.py" in found["traceback"]


@pytest.mark.parametrize(
    "given",
    [
        {"message": "sent with sekret-1234 to it"},
        {"message": "%s", "values": ("sekret-1234",)},
        {"note": "sekret-1234"},
        {"inner": {"deep": ["x", {"deeper": "=sekret-1234="}]}},
        {"api_key": "sekret-1234"},
        {"inner": {"PASSWORD": "sekret-1234"}},
    ],
)
def test_secrets_of_the_environment_are_nowhere(given):
    message, values = given.pop("message", "m"), given.pop("values", ())
    found = line(message, *values, environment={"PINECONE_API_KEY": "sekret-1234", "HOME": "/root"}, **given)
    assert "sekret-1234" not in json.dumps(found)
    assert "***" in json.dumps(found)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Authorization: apiKey abc.def/12", "Authorization: apiKey ***"),
        ("header Bearer abc.def", "header Bearer ***"),
        ("connect to postgres://me:pw@host/db", "connect to postgres://me:***@host/db"),
        ("{'api_key': 'abc'}", "{'api_key': '***'}"),
        ("x?token=abc&y=1", "x?token=***&y=1"),
        ("a monkey and a keyboard: 3 tokens", "a monkey and a keyboard: 3 tokens"),
    ],
)
def test_secrets_are_known_by_what_stands_before_them(text, wanted):
    assert line(text)["message"] == wanted


def test_short_values_of_the_environment_do_not_hide_texts():
    assert line("a b c", environment={"X_TOKEN": "b"})["message"] == "a b c"


def test_secrets_that_hold_each_other_are_hidden_whole():
    environment = {"A_KEY": "abcdef", "B_KEY": "abcdefgh"}
    assert line("abcdefgh", environment=environment)["message"] == "***"


def test_a_run_is_logged_from_begin_to_end(logged):
    rng = np.random.default_rng(0)
    with QuantumDatabase.open(":memory:") as db:
        labels = np.arange(12) % 2
        db.store_training_data("two", data=rng.normal(size=(12, 4)), labels=labels)
        db.create_model("small", kind="classifier", qubits=2, layers=1, classes=2)
        run = db.train("small", dataset="two", epochs=2, seed=1, callbacks=[TrainingLog()])

        class Stop(Silence):
            def epoch_finished(self, row):
                raise KeyboardInterrupt

        with pytest.raises(TrainingInterruptedError):
            db.train("small", dataset="two", epochs=2, seed=1, callbacks=[TrainingLog(), Stop()])
    records = logged()
    first = [record for record in records if record["run_id"] == run.id]
    assert [record["message"] for record in first] == [
        "run 1 of model small started",
        "epoch 1 of run 1 finished",
        "epoch 2 of run 1 finished",
        "run 1 of model small: finished",
    ]
    assert first[2]["train_loss"] == run.record.scores.train_loss
    assert {record["logger"] for record in records} == {"qstore_db.training"}
    assert (records[-1]["status"], records[-1]["level"]) == ("interrupted", "WARNING")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("access_token=abc&y=1", "access_token=***&y=1"),
        ("export IONQ_API_KEY=abc", "export IONQ_API_KEY=***"),
        ("client_secret: abc", "client_secret: ***"),
        ("password='open sesame, please' x", "password='***' x"),
        ('{"api_key": "a b", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("passwd=abc", "passwd=***"),
        ("3 tokens = 3 words", "3 tokens = 3 words"),
    ],
)
def test_secrets_after_longer_names_and_in_quotes_are_hidden(said, shown):
    assert line(said)["message"] == shown


def test_a_name_that_is_no_text_can_be_written_to_any_stream_of_utf_8():
    record = logging.makeLogRecord({"msg": "opened %s", "args": ("shop\udc80.qdb",)})
    written = JsonFormatter({}).format(record).encode()
    assert json.loads(written)["message"] == "opened shop\udc80.qdb"
