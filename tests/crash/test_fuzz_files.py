"""Bytes that no writer made: a typed error or right data, in time and in memory, and never a dead process."""

READERS = {
    *("checkpoint", "deletes", "format", "graph", "log", "manifest"),
    *("payload", "pin", "segment", "tables", "watermark"),
}


def test_every_reader_survives_any_bytes(run_suite):
    points, counts = run_suite("fuzz_files.py", 100_000)
    refused = sum(count for what, count in counts.items() if not what.endswith("read"))
    # Most inputs are refused, but not all: what is put right behind the damage must reach the readers.
    assert refused > points // 3
    for reader in READERS:
        assert sum(count for what, count in counts.items() if what.startswith(reader)) > points // 30
    for reader in READERS - {"checkpoint"}:
        assert counts[f"{reader} read"] > 0, f"nothing that {reader} takes was ever made"
