"""Damaged, lost, swapped and outdated files: an error or the right rows, never a wrong row, never a dead process."""


def test_damage_is_announced_or_harmless(run_suite):
    points, counts = run_suite("damaged_files.py", 2_000)
    assert sum(count for what, count in counts.items() if what.startswith("writer")) == points
    assert counts["writer refused: DamagedError"] > points // 10
    assert counts["writer whole"] > points // 10
    repaired = sum(count for what, count in counts.items() if what.startswith("repair"))
    assert repaired > points // 5
    assert counts["repair of rows, some lost"] > repaired // 20
    assert counts["repair of rows, none lost"] > repaired // 20
