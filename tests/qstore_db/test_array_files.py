"""Array files of unknown origin: what they would take is known before it is taken."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from qstore_db import QuantumDatabase
from qstore_db.cli import array_files
from qstore_db.cli.app import app
from qstore_db.cli.array_files import map_rows, read_arrays
from qstore_db.cli.importing import import_file
from qstore_db.errors import InvalidArgumentError, InvalidInputError, NotEnoughMemoryError

MIB = 1 << 20


def header(shape, dtype="<f4", fortran=False):
    stream = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": fortran, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


def taken(call, error):
    """The error that a call ends with, and the most memory that it held."""
    tracemalloc.start()
    try:
        with pytest.raises(error) as caught:
            call()
        return caught.value, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_reads(tmp_path, save, order):
    g = np.random.default_rng(0)
    arrays = {
        "a": np.asarray(g.normal(size=(7, 3)), order=order),
        "b": g.integers(0, 9, 5),
        "c": np.empty((0, 4), "f4"),
    }
    save(tmp_path / "a.npz", other=np.ones(3), **arrays)
    found = read_arrays(tmp_path / "a.npz", ["a", "b", "c"])
    assert list(found) == ["a", "b", "c"]
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_what_unpacks_to_more_than_is_allowed_is_refused_before_it_is_unpacked(tmp_path):
    file = archive(tmp_path / "bomb.npz", a=header((64 * MIB,), "u1") + bytes(64 * MIB))
    assert file.stat().st_size < MIB  # a thousand to one
    error, most = taken(lambda: read_arrays(file, ["a"], max_bytes=32 * MIB), NotEnoughMemoryError)
    assert error.value == 64 * MIB
    assert "33,554,432 are allowed" in str(error)
    assert most < 2 * MIB
    assert read_arrays(file, ["a"], max_bytes=64 * MIB)["a"].nbytes == 64 * MIB


def test_by_default_half_of_the_free_memory_is_the_bound(tmp_path, monkeypatch):
    file = archive(tmp_path / "a.npz", a=header((1000,)) + bytes(4000), b=header((1000,)) + bytes(4000))
    monkeypatch.setattr(array_files, "available", lambda: 15_998)
    with pytest.raises(NotEnoughMemoryError, match="8,000 bytes, and 7,999"):
        read_arrays(file, ["a", "b"])
    assert read_arrays(file, ["a"])["a"].shape == (1000,)
    monkeypatch.setattr(array_files, "available", lambda: None)  # the system does not say
    assert len(read_arrays(file, ["a", "b"])) == 2


@pytest.mark.parametrize("shape", [(2**40,), (2**62, 2**62), (2**31, 2**31)])
def test_a_header_that_announces_terabytes_is_refused(tmp_path, shape):
    file = archive(tmp_path / "a.npz", a=header(shape) + bytes(64))
    error, most = taken(lambda: read_arrays(file, ["a"]), NotEnoughMemoryError)
    assert error.value == 4 * np.prod([float(length) for length in shape])
    assert most < MIB


def test_more_bytes_than_announced_are_not_unpacked_and_fewer_are_not_made_up(tmp_path):
    longer = archive(tmp_path / "longer.npz", a=header((10,), "u1") + bytes(64 * MIB))
    _, most = taken(lambda: read_arrays(longer, ["a"], max_bytes=100), InvalidArgumentError)
    assert most < 2 * MIB
    shorter = archive(tmp_path / "shorter.npz", a=header((256 * MIB,), "u1") + bytes(1000))
    error, most = taken(lambda: read_arrays(shorter, ["a"], max_bytes=512 * MIB), InvalidArgumentError)
    assert "more or less under a" in str(error)
    assert most < 2 * MIB  # though as much was allowed


def test_other_archives_are_refused(tmp_path):
    good = header((4,), "u1") + b"abcd"
    objects = io.BytesIO()
    np.save(objects, np.array([{}], object), allow_pickle=True)
    for members, message in (
        ({"a": objects.getvalue()}, "Python objects"),
        ({"a": b"text"}, "no array under a"),
        ({"a": good[:20]}, "no array under a"),
        ({"b": good}, "lacks a"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            read_arrays(archive(tmp_path / "x.npz", **members), ["a"])
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as file:
        file.writestr("a.npy", good)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.npy", good)
    with pytest.raises(InvalidArgumentError, match="holds a twice"):
        read_arrays(tmp_path / "twice.npz", ["a"])
    damaged = archive(tmp_path / "damaged.npz", a=header((4000,), "u1") + np.random.default_rng(0).bytes(4000))
    data = bytearray(damaged.read_bytes())
    data[1000] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        read_arrays(damaged, ["a"])
    (tmp_path / "text.npz").write_text("no zip file")
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        read_arrays(tmp_path / "text.npz", ["a"])


def test_rows_are_mapped_and_announced_ones_must_be_there(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(12, dtype="f4").reshape(4, 3))
    assert map_rows(tmp_path / "a.npy").tolist()[3] == [9, 10, 11]
    for name, data in (
        ("terabytes", header((2**38, 4)) + bytes(64)),
        ("overflow", header((2**62, 2**62)) + bytes(64)),
        ("one dimension", header((4,)) + bytes(16)),
        ("too wide", header((1, 70_000)) + bytes(280_000)),
        ("objects", header((4, 4), object) + bytes(64)),
        ("cut", header((4, 4))[:40]),
        ("empty", b""),
    ):
        (tmp_path / "b.npy").write_bytes(data)
        error, most = taken(lambda: map_rows(tmp_path / "b.npy"), InvalidInputError)
        assert error.fix, name
        assert most < MIB, name


def test_a_sparse_file_of_wide_rows_is_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("qstore_db.cli.importing.BATCH_NUMBERS", 1 << 18)
    start = header((40, 65_536))
    with (tmp_path / "wide.npy").open("wb") as file:
        file.write(start)
        file.truncate(len(start) + 40 * 65_536 * 4)
    with QuantumDatabase.open(tmp_path / "db", progress=False) as db:
        assert import_file(db, "wide", tmp_path / "wide.npy") == 40
        assert db.version >= 10  # commits of four rows


def test_imports_and_the_command_line_keep_the_bound(tmp_path):
    file = tmp_path / "data.npz"
    g = np.random.default_rng(0)
    x, y = g.normal(size=(20, 4)).astype("f4"), g.integers(0, 2, 20)
    np.savez(file, x_train=x, y_train=y, x_test=x[:5], y_test=y[:5])
    np.save(tmp_path / "rows.npy", x)
    with QuantumDatabase.open(tmp_path / "db", progress=False) as db:
        with pytest.raises(NotEnoughMemoryError):
            import_file(db, "d", file, dataset=True, max_bytes=599)
        with pytest.raises(InvalidArgumentError, match="a batch at a time"):
            import_file(db, "d", tmp_path / "rows.npy", max_bytes=599)
        assert "d" not in {name for (name,) in db.sql("SELECT name FROM datasets").fetchall()}
        assert import_file(db, "d", file, dataset=True, max_bytes=600) == 25
    arguments = ["import", str(tmp_path / "db"), "e", str(file), "--dataset", "--max-bytes"]
    assert CliRunner().invoke(app, [*arguments, "599"]).exit_code == 1
    assert CliRunner().invoke(app, [*arguments, "600"]).exit_code == 0
