"""Real processes, real files, SIGKILL."""


def test_killed_processes_lose_nothing_acknowledged(run_suite):
    points, counts = run_suite("real_kills.py", 1_000)
    assert counts["kills at a random moment"] + counts["kills inside a call"] == points
    assert counts["acknowledged commits"] > points // 2
    assert counts["kills inside opening"] > points // 50
