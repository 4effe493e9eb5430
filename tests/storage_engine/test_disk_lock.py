import os
import signal
import subprocess
import sys
import textwrap

import pytest

from storage_engine.errors import DatabaseLockedError
from storage_engine.lock import WriterLock
from storage_engine.memory_disk import MemoryDisk
from storage_engine.real_disk import RealDisk

HOLD = textwrap.dedent(
    """
    import sys, time
    from storage_engine.real_disk import RealDisk
    from storage_engine.lock import WriterLock
    lock = WriterLock.acquire(RealDisk(sys.argv[1]), now=1700000000.0)
    print("held", flush=True)
    time.sleep(60)
    """
)


@pytest.fixture(params=["real", "memory"])
def disk(request, tmp_path):
    made = MemoryDisk() if request.param == "memory" else RealDisk(tmp_path, create=True)
    yield made
    made.shut()


def test_a_second_writer_is_refused_and_told_who_holds_it(disk):
    held = WriterLock.acquire(disk, now=1700000000.0)
    with pytest.raises(
        DatabaseLockedError, match=f"process {os.getpid()} on .* since 2023-11-14 22:13:20 UTC"
    ) as caught:
        WriterLock.acquire(disk, now=1.0)
    assert caught.value.value == os.getpid()
    held.release()
    held.release()
    WriterLock.acquire(disk, now=2.0).release()
    assert disk.list("") == ["LOCK"]


@pytest.mark.crash
def test_a_writer_in_another_process_is_seen_until_it_is_killed(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        disk = RealDisk(tmp_path)
        with pytest.raises(DatabaseLockedError, match=f"process {child.pid} on "):
            WriterLock.acquire(disk, now=1.0)
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=30)
        WriterLock.acquire(disk, now=1.0).release()
        disk.shut()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_lock_file_without_a_readable_holder(tmp_path):
    (tmp_path / "LOCK").write_bytes(b"\xff[")
    disk = RealDisk(tmp_path)
    handle = disk.open("LOCK")
    assert disk.lock(handle)
    with pytest.raises(DatabaseLockedError, match="another process"):
        WriterLock.acquire(disk, now=1.0)
    disk.close(handle)
    disk.shut()


def test_releasing_in_a_forked_child_leaves_the_parents_lock(tmp_path):
    script = textwrap.dedent(
        """
        import os, sys
        from storage_engine.errors import DatabaseLockedError
        from storage_engine.real_disk import RealDisk
        from storage_engine.lock import WriterLock
        lock = WriterLock.acquire(RealDisk(sys.argv[1]), now=1.0)
        child = os.fork()
        if child == 0:
            lock.release()
            os._exit(0)
        os.waitpid(child, 0)
        try:
            WriterLock.acquire(RealDisk(sys.argv[1]), now=2.0)
        except DatabaseLockedError:
            print("still held")
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "still held\n"), done.stderr
