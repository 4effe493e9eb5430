"""Whatever call the disk refuses, once or from then on: an announced error before the acknowledgement, and no loss."""


def test_refused_calls_lose_nothing_and_need_no_repair(run_suite):
    points, counts = run_suite("call_faults.py", 3_000)
    assert counts["reopened without repair"] == points
    assert counts["calls refused"] >= points * 0.9
    for error in ("WriteFailedError", "CommitUnknownError", "DiskError"):
        assert counts[error] > points // 50
    assert counts["went on with the same handle"] > points // 5
