"""The kernel's object file: what it is named after, where it lies, and that a process needs nothing else."""

import os
import subprocess
import sys

import numpy as np
import pytest

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.readouts import single_z
from qstore_db.simulation import compiled, machine_code
from qstore_db.simulation.plan import compile_circuit

FIRST_GRADIENT = (
    "import sys\n"
    "import numpy as np\n"
    "from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient\n"
    "from qstore_db.circuits.readouts import single_z\n"
    "from qstore_db.simulation.plan import compile_circuit\n"
    "plan = compile_circuit(hardware_efficient(3, 2), single_z(3))\n"
    "values, pullback = plan.forward(weights=np.arange(12.0))\n"
    "print(repr(float(pullback(np.ones_like(values)).weights.sum())), 'numba' in sys.modules, 'scipy' in sys.modules)\n"
)


@pytest.fixture
def stored():
    """The files of both dtypes, made if they are not there."""
    for dtype in ("float32", "float64"):
        machine_code.kernel(dtype)
    return {dtype: machine_code._file(dtype) for dtype in ("float32", "float64")}


def test_a_later_process_computes_without_numba(stored):
    plan = compile_circuit(hardware_efficient(3, 2), single_z(3))
    values, pullback = plan.forward(weights=np.arange(12.0))
    wanted = repr(float(pullback(np.ones_like(values)).weights.sum()))
    done = subprocess.run([sys.executable, "-c", FIRST_GRADIENT], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [wanted, "False", "False"]


def test_damaged_and_missing_files_are_not_loaded(stored, tmp_path, monkeypatch):
    content = stored["float32"].read_bytes()
    file = tmp_path / "kernel.o"
    monkeypatch.setattr(machine_code, "_file", lambda dtype: file)
    assert machine_code._stored("float32") is None
    file.write_bytes(content)
    assert machine_code._stored("float32") == content[32:]
    for damaged in (content[:-1], content[:40], b"", content[:100] + b"\x00" + content[101:] + b"\x01"):
        file.write_bytes(damaged)
        assert machine_code._stored("float32") is None
    monkeypatch.setattr(machine_code, "_intermediate_code", lambda dtype: f"code of {dtype}")
    monkeypatch.setattr(machine_code, "_object_code", lambda code: f"object of {code}".encode())
    assert machine_code._made("float32") == b"object of code of float32"  # and written anew
    assert machine_code._stored("float32") == b"object of code of float32"
    assert [path.name for path in tmp_path.iterdir()] == ["kernel.o"]


def test_the_name_holds_what_the_code_depends_on(monkeypatch):
    before = machine_code._file("float32")
    assert before != machine_code._file("float64")
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    assert machine_code.processor() == ("haswell", "")
    haswell = machine_code._file("float32")
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+avx2,+fma")
    assert len({before, haswell, machine_code._file("float32")}) == 3


def test_code_goes_to_the_users_folder_where_the_package_is_read_only(stored, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(compiled, "_PACKAGE_CACHE", tmp_path / "file")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    found = compiled.cache_folder.__wrapped__(compiled.LANES_SOURCES)
    assert found.parent == tmp_path / "user" / "qstore-db"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled.cache_folder.__wrapped__(compiled.LANES_SOURCES) is None  # compiled in each process, not kept


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_can_load_while_its_parent_was_loading(stored):
    with machine_code._loader._lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                machine_code._loader.kernels.clear()
                machine_code.kernel("float32")
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
