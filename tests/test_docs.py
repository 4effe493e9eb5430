"""Every Python block of the README and of docs/python.md runs, in order, in a fresh folder; so do the commands."""

import re
import shlex
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "README.md",
    "docs/python.md",
    "docs/states.md",
    "docs/quantum.md",
    "docs/models.md",
    "docs/noise.md",
    "docs/analysis.md",
    "docs/algorithms.md",
    "docs/web.md",
    "docs/training.md",
    "docs/search.md",
    "docs/search_verbs.md",
    "docs/kernels.md",
    pytest.param(
        "docs/frameworks.md",
        marks=[
            pytest.mark.skipif(
                any(find_spec(name) is None for name in ("torch", "jax", "keras", "pennylane")),
                reason="needs the extras torch, jax, keras and sim",
            ),
            # Keras reads tensors of PyTorch in a way that NumPy 2 warns of.
            pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
        ],
    ),
    pytest.param(
        "docs/hardware.md",
        marks=pytest.mark.skipif(
            any(find_spec(name) is None for name in ("cirq_ionq", "qiskit_ionq")), reason="needs the extra ionq"
        ),
    ),
    pytest.param(
        "docs/observability.md",
        marks=[
            pytest.mark.skipif(
                any(find_spec(name) is None for name in ("mlflow", "prometheus_client")),
                reason="needs the extras mlflow and prometheus",
            ),
            pytest.mark.filterwarnings("ignore:.*noload.*", "ignore::FutureWarning:mlflow"),
        ],
    ),
    pytest.param(
        "docs/sync.md",
        marks=pytest.mark.skipif(find_spec("pinecone") is None, reason="needs the extra pinecone"),
    ),
    pytest.param(
        "docs/text_search.md",
        marks=pytest.mark.skipif(find_spec("tantivy") is None, reason="needs the extra text"),
    ),
]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def run_python_blocks(page: str) -> None:
    namespace: dict[str, object] = {"__name__": "docs"}
    found = blocks(page, "python")
    assert found, f"{page} shows no Python"
    for number, code in enumerate(found):
        exec(compile(code, f"{page} block {number}", "exec"), namespace)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python_blocks(page)


def runs_until_interrupted(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "qstore_db.cli", *arguments[1:], *(["--no-open"] if "serve" in arguments else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert first.strip(), errors
    assert "Traceback" not in errors
    assert running.returncode in (0, 130), errors


@pytest.mark.slow
def test_readme_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python_blocks("README.md")
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 4)
    table = pa.table({"id": [f"v{n}" for n in range(20)], "vector": column, "price": np.arange(20.0)})
    pyarrow.parquet.write_table(table, "vectors.parquet")
    commands = [
        line.removeprefix("$ ").split(" #")[0]
        for block in blocks("README.md", "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    assert len(commands) >= 8
    for command in commands:
        arguments = shlex.split(command)
        assert arguments[0] == "qstore"
        if arguments[1] == "demo":
            continue  # tests/qstore_db/test_demo.py
        if arguments[1] in ("serve", "emulator"):
            runs_until_interrupted(arguments)
            continue
        done = subprocess.run(
            [sys.executable, "-m", "qstore_db.cli", *arguments[1:]],
            input="SELECT count(*) FROM items;\n",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip(), command


def test_every_link_leads_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
