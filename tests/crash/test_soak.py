"""Nothing grows that should not: memory, file descriptors, the directory, the log."""

import json
import os
import statistics

SECONDS = 20 * float(os.environ.get("QSTORE_TEST_SCALE", "1"))
MEGABYTE = 1 << 20

NOISE = 12 * MEGABYTE
"""What the allocator keeps or gives back between two looks; a leak shows beyond it the sooner, the longer the run."""

SLOPE = MEGABYTE / 10_000
"""Bytes of memory that an operation (a row written, a record, a search) may cost for good."""


def test_nothing_grows_but_what_is_stored(run_script, tell, record_property):
    seed = os.environ.get("QSTORE_CRASH_SEED", "0")
    (output,) = run_script("soak.py", ["--seconds", str(SECONDS), "--seed", seed])
    result = json.loads(output)
    samples, counts = result["samples"], result["counts"]
    warm = samples[len(samples) // 4 :]
    third = max(1, len(warm) // 3)
    memory = [statistics.median(one["memory"] for one in part) for part in (warm[:third], warm[-third:])]
    operations = [statistics.median(one["operations"] for one in part) for part in (warm[:third], warm[-third:])]
    grown, done = memory[1] - memory[0], operations[1] - operations[0]
    disk = max(one["disk"] / one["live"] for one in warm)
    tell(
        f"soak: {samples[-1]['operations']:,} operations in {samples[-1]['seconds']:.0f} s, "
        f"memory {grown / MEGABYTE:+.1f} MB over {done:,.0f} of them, {warm[-1]['descriptors']} file descriptors, "
        f"disk at most {disk:.2f} times what is stored, "
        f"log at most {result['most_log'] / result['log_limit']:.1f} times its limit"
    )
    record_property("counts", counts)
    assert grown <= NOISE + SLOPE * done
    for what in ("descriptors", "maps"):
        seen = [one[what] for one in warm]
        assert max(seen) - min(seen) <= 3, f"{what}: {seen}"
    assert disk <= 2.5
    assert max(one["log"] for one in samples) <= 2 * result["log_limit"]
    assert result["most_log"] <= 5 * result["log_limit"]
    assert counts["searches by graph"] > 0
    assert counts["opened anew"] > 0
