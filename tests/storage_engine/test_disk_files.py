import errno
import os
import stat
import subprocess
import sys
import textwrap

import pytest

from storage_engine.files import ROOT, Disk, DiskError, check_name, parent_of, replace_file, write_all
from storage_engine.memory_disk import MemoryDisk
from storage_engine.real_disk import RealDisk


@pytest.fixture(params=["real", "memory"])
def disk(request, tmp_path):
    made: Disk = MemoryDisk() if request.param == "memory" else RealDisk(tmp_path / "db", create=True)
    made.make_directory("seg")
    yield made
    made.shut()


def put(disk, name, data):
    handle = disk.create(name)
    write_all(disk, handle, 0, data)
    disk.sync(handle)
    disk.close(handle)


def test_create_refuses_a_taken_name(disk):
    put(disk, "seg/a", b"1")
    with pytest.raises(DiskError) as caught:
        disk.create("seg/a")
    assert caught.value.exists
    assert (caught.value.operation, caught.value.name, caught.value.errno) == ("create", "seg/a", errno.EEXIST)


def test_missing_things_are_named(disk):
    for call in (disk.open, disk.size, disk.read, disk.map, disk.unlink):
        with pytest.raises(DiskError, match="seg/nothing") as caught:
            call("seg/nothing")
        assert caught.value.missing
    for call in (lambda: disk.rename("seg/nothing", "seg/b"), lambda: disk.replace("seg/nothing", "seg/b")):
        with pytest.raises(DiskError) as caught:
            call()
        assert caught.value.missing
    with pytest.raises(DiskError):
        disk.create("absent/file")
    assert disk.list("absent") == []
    assert not disk.exists("absent/file")


def test_writes_land_at_their_offsets(disk):
    handle = disk.create("seg/a")
    assert disk.write(handle, 4, b"efgh") == 4
    assert disk.read("seg/a") == b"\0\0\0\0efgh"
    write_all(disk, handle, 0, memoryview(b"abcd"))
    write_all(disk, handle, 8, b"")
    assert disk.read("seg/a") == b"abcdefgh"
    assert disk.read("seg/a", 2, 3) == b"cde"
    assert disk.read("seg/a", 6, 100) == b"gh"
    assert disk.read("seg/a", 50) == b""
    disk.truncate(handle, 3)
    assert (disk.size("seg/a"), disk.read("seg/a")) == (3, b"abc")
    disk.truncate(handle, 5)
    assert disk.read("seg/a") == b"abc\0\0"
    disk.sync(handle)
    disk.close(handle)
    disk.close(handle)
    again = disk.open("seg/a")
    write_all(disk, again, 5, b"!")
    disk.close(again)
    assert disk.read("seg/a") == b"abc\0\0!"


def test_a_closed_handle_is_refused(disk):
    handle = disk.create("seg/a")
    disk.close(handle)
    for call in (lambda: disk.write(handle, 0, b"x"), lambda: disk.truncate(handle, 0), lambda: disk.sync(handle)):
        with pytest.raises(DiskError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_rename_needs_a_free_name_and_replace_does_not(disk):
    put(disk, "seg/a", b"a")
    put(disk, "seg/b", b"b")
    with pytest.raises(DiskError) as caught:
        disk.rename("seg/a", "seg/b")
    assert caught.value.exists
    assert disk.read("seg/b") == b"b"
    disk.rename("seg/a", "seg/c")
    disk.replace("seg/c", "seg/b")
    disk.sync_directory("seg")
    disk.sync_directory(ROOT)
    assert disk.list("seg") == ["b"]
    assert disk.read("seg/b") == b"a"


def test_list_shows_entries_of_one_level(disk):
    put(disk, "seg/a", b"")
    put(disk, "FORMAT", b"")
    disk.make_directory("seg")
    disk.make_directory("wal")
    assert disk.list(ROOT) == ["FORMAT", "seg", "wal"]
    assert disk.list("seg") == ["a"]
    assert disk.exists("seg") and disk.exists("seg/a") and not disk.exists("seg/b")


def test_a_mapping_outlives_its_name(disk):
    put(disk, "seg/a", bytes(range(256)))
    put(disk, "seg/empty", b"")
    view = disk.map("seg/a")
    assert view.readonly
    disk.unlink("seg/a")
    assert bytes(view) == bytes(range(256))
    assert len(disk.map("seg/empty")) == 0


def test_replace_file_leaves_no_temporary(disk):
    for content in (b"old", b"new and longer", b""):
        replace_file(disk, "SYNCED", content)
        assert disk.read("SYNCED") == content
    put(disk, "synced.tmp", b"left behind by a crash")
    replace_file(disk, "SYNCED", b"again")
    assert disk.read("SYNCED") == b"again"
    assert disk.list(ROOT) == ["SYNCED", "seg"]


def test_free_space_is_a_number_of_bytes(disk):
    assert disk.free_space() > 1 << 20


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "..",
        "seg/../x",
        "seg//x",
        "seg/",
        "./a",
        "Upper",
        "a b",
        "seg/.hidden",
        "a\n",
        "ä",
        "x" * 121,
    ],
)
def test_names_that_leave_the_directory_or_come_from_users_are_refused(disk, name):
    with pytest.raises(ValueError, match="may not name"):
        check_name(name)
    with pytest.raises(ValueError, match="may not name"):
        disk.create(name)


def test_parent_of():
    assert parent_of("wal/1.wal") == "wal"
    assert parent_of("FORMAT") == ROOT


def test_short_writes_are_continued():
    class Slow(MemoryDisk):
        def write(self, handle, offset, data):
            return super().write(handle, offset, bytes(data[:3]))

    disk = Slow()
    handle = disk.create("a")
    write_all(disk, handle, 2, b"0123456789")
    assert disk.read("a") == b"\0\x000123456789"


def test_a_disk_that_takes_nothing_is_full():
    class Stuck(MemoryDisk):
        def write(self, handle, offset, data):
            return 0

    disk = Stuck()
    with pytest.raises(DiskError) as caught:
        write_all(disk, disk.create("a"), 0, b"x")
    assert caught.value.full


def test_real_files_are_private(tmp_path):
    before = os.umask(0)
    try:
        disk = RealDisk(tmp_path / "db", create=True)
        disk.make_directory("seg")
        disk.close(disk.create("seg/a"))
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE((tmp_path / "db" / path).stat().st_mode) for path in ("", "seg", "seg/a")}
    assert modes == {"": 0o700, "seg": 0o700, "seg/a": 0o600}
    disk.shut()
    disk.shut()


def test_links_pipes_and_directories_are_refused(tmp_path):
    disk = RealDisk(tmp_path / "db", create=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (tmp_path / "db" / "link").symlink_to(outside / "secret")
    (tmp_path / "db" / "seg").symlink_to(outside)
    os.mkfifo(tmp_path / "db" / "pipe")
    (tmp_path / "db" / "folder").mkdir()
    for name in ("link", "seg/secret", "pipe", "folder"):
        with pytest.raises(DiskError):
            disk.read(name)
        with pytest.raises(DiskError):
            disk.open(name)
    with pytest.raises(DiskError):
        disk.create("seg/new")
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    disk.shut()


def test_opening_what_is_no_directory(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path, is_file in ((tmp_path / "file", True), (tmp_path / "absent", False)):
        with pytest.raises(DiskError) as caught:
            RealDisk(path)
        assert (caught.value.not_a_directory, caught.value.missing) == (is_file, not is_file)
    with pytest.raises(DiskError):
        RealDisk(tmp_path / "absent" / "deeper", create=True)


def test_a_full_disk_is_told_apart(tmp_path):
    # A limit on the file size makes the kernel refuse part of a write for real.
    script = textwrap.dedent(
        """
        import resource, sys
        from storage_engine.files import DiskError, write_all
        from storage_engine.real_disk import RealDisk
        disk = RealDisk(sys.argv[1], create=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        handle = disk.create("a")
        assert disk.write(handle, 600, bytes(600)) == 400
        try:
            write_all(disk, handle, 600, bytes(600))
        except DiskError as error:
            print(error.full, error.operation, error.name)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "db")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "True write a\n"), done.stderr
