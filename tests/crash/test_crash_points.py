"""Whatever call the power fails at, even while recovering from the failure before: nothing acknowledged is lost."""


def test_acknowledged_commits_survive_a_crash_at_any_call(run_suite):
    points, counts = run_suite("crash_points.py", 20_000)
    # The suite must have done what it is for: crashes in recovery, readers, and writing again afterwards.
    assert counts["recoveries"] == counts["writes after recovery"] == points
    assert counts["crashes inside recovery"] > points // 4
    assert counts["kills"] > points // 4
    assert counts["readers"] > points // 10
    assert counts["verified"] > points // 20
