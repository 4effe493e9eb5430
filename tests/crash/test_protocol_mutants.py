"""A test that finds nothing proves nothing: each rule of the protocol is taken away once, and must be missed."""

import json

MOST_POINTS = 2_000


def test_every_mutant_is_found(run_script, tell):
    (output,) = run_script("protocol_mutants.py", ["--points", str(MOST_POINTS)])
    results = [json.loads(line) for line in output.splitlines()]
    assert len(results) == 11
    survivors = [result["mutant"] for result in results if result["found"] is None]
    assert not survivors
    found = ", ".join(f"{result['mutant']} at point {result['points']}" for result in results)
    tell(f"protocol_mutants: {len(results)} of {len(results)} found ({found})")
