"""The plan of the house cannot drift: floors are never climbed, the package root is never imported from inside."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"storage_engine": 0, "query": 1, "qstore_db": 2}
QUANTUM_ROOMS = {
    "algorithms",
    "analysis",
    "backends",
    "chemistry",
    "circuits",
    "compilation",
    "distributed",
    "executor",
    "frameworks",
    "gradients",
    "hyperparameters",
    "kernels",
    "models",
    "optimizers",
    "pictures",
    "qubo",
    "simulation",
    "states",
    "text_encoding",
}
FACE_ROOMS = {"sql": {"sql", "verbs", "database"}, "verbs": {"verbs", "database"}}
"""Rooms right under the face, and who may import them."""
DISK_DOORS = {"storage_engine/real_disk.py"}
MODULES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def imported_modules(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import at line {node.lineno}"
            found += [module_meant(node.module or "", name.name) for name in node.names]
    return found


def module_meant(module: str, name: str) -> str:
    """``from package import room`` means the room, not the package's root."""
    inside = ROOT / module.replace(".", "/") / name
    return f"{module}.{name}" if inside.is_dir() or inside.with_suffix(".py").is_file() else module


def called_names(path: Path) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            target = node.func
            if isinstance(target, ast.Name):
                found.append((target.id, node.lineno))
            elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                found.append((f"{target.value.id}.{target.attr}", node.lineno))
    return found


def test_there_are_modules_to_check():
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_never_climb(path):
    floor = path.relative_to(ROOT).parts[0]
    for module in imported_modules(path):
        other = module.split(".")[0]
        if other in FLOORS:
            assert FLOORS[other] <= FLOORS[floor], f"{path} imports {module} from a higher floor"
            assert module != floor, f"{path} imports its own package root"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.relative_to(ROOT).parts[:2] in {("qstore_db", room) for room in QUANTUM_ROOMS}],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_quantum_rooms_do_not_know_a_database_exists(path):
    for module in imported_modules(path):
        top = module.split(".")[0]
        assert top not in {"query", "storage_engine", "duckdb", "hnswlib"}, f"{path} imports {module}"
        if top == "qstore_db":
            assert module.split(".")[1] in QUANTUM_ROOMS | {"errors"}, f"{path} imports {module}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.is_relative_to(ROOT / "qstore_db")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_only_the_face_knows_its_verbs_and_what_it_plugs_into_sql(path):
    room = path.relative_to(ROOT).parts[1].removesuffix(".py")
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "qstore_db" and parts[1] in FACE_ROOMS:
            assert room in FACE_ROOMS[parts[1]], f"{path} imports {module}"


def test_every_room_is_on_the_map():
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Where a thing lives")[1]
    rooms = sorted(path.parent.name for path in (ROOT / "qstore_db").glob("*/__init__.py"))
    assert len(rooms) > 20
    assert [room for room in rooms if f"`{room}/`" not in table and f"`qstore_db/{room}/" not in table] == []


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in MODULES
        if path.is_relative_to(ROOT / "storage_engine") and str(path.relative_to(ROOT)) not in DISK_DOORS
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_one_door_to_the_disk(path):
    for name, line in called_names(path):
        assert name not in {"open", "os.open", "os.write", "os.rename", "os.replace", "os.unlink", "os.fsync"}, (
            f"{path}:{line} reaches the disk by {name}"
        )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_unpickles(path):
    forbidden = {"pickle", "cPickle", "dill", "joblib", "marshal", "cloudpickle", "shelve"}
    assert not {module.split(".")[0] for module in imported_modules(path)} & forbidden
    assert "allow_pickle=True" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_explain_something(path):
    names = {Path(part).stem for part in path.relative_to(ROOT).parts}
    assert not names & {"base", "common"}
    words = {word for name in names for word in name.split("_")}
    assert not words & {"util", "utils", "helper", "helpers", "misc", "manager", "managers", "v2"}
