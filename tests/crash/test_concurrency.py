"""Threads on one handle, readers in other processes, and files that are rewritten under all of them."""

import json
import os

SECONDS = 60 * float(os.environ.get("QSTORE_TEST_SCALE", "1"))


def test_threads_and_readers_see_whole_commits_only(run_script, tell, record_property):
    seed = os.environ.get("QSTORE_CRASH_SEED", "0")
    (output,) = run_script("concurrency.py", ["--seconds", str(SECONDS), "--seed", seed])
    result = json.loads(output)
    counts = result["counts"]
    assert not result["failures"], "\n".join(result["failures"])
    details = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
    tell(f"concurrency: 8 threads and 3 readers for {SECONDS:.0f} s, 0 anomalies ({details})")
    record_property("counts", counts)
    assert counts["commits"] > 5 * SECONDS
    assert counts["transactions"] > SECONDS / 2
    assert counts["looks of other processes"] > 2 * SECONDS
    assert counts["searches by graph"] > SECONDS / 2
    assert counts["statements of SQL"] > 0
    assert min(counts["seals"], counts["graph builds"], counts["vacuums"], counts["verified"]) > 0
