"""The README's example works while two readers watch: they see whole commits, in order, and the writer never waits."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

READER = """
import json, os, sys, time
from qstore_db import QuantumDatabase
from qstore_db.errors import NotADatabaseError, QStoreError, UnknownIdError

done, seen, versions, looks = sys.argv[1], {}, [], 0


def look(db):
    "What one snapshot shows, and whether its parts belong together."
    names = set(db.collections())
    found = {}
    if "items" in names:
        found["items"] = len(db.collection("items"))
        if found["items"]:
            row = db.collection("items").get("item_7")
            assert row.metadata == {"label": 7, "price": 3.5}
            assert db.collection("items").query(row.vector, top_k=1, exact=True).ids == ["item_7"]
    if "default" in names:
        try:
            record = db.get("doc_1")
        except UnknownIdError:
            found["doc"] = 0
        else:
            found["doc"] = 1
            # Row, branches and entry in `states` came by one commit; measuring leaves one context, by another.
            assert abs(sum(record.probabilities.values()) - 1) < 1e-9
            assert set(record.vectors) == set(record.probabilities)
            assert db.sql("SELECT count(*) FROM states").fetchall() == [(1,)]
    if "digits" in names:
        split = dict(db.sql("SELECT split, count(*) FROM training_data GROUP BY split").fetchall())
        found["train"], found["test"] = split.get("train", 0), split.get("test", 0)
    runs = db.sql("SELECT status, count(*) FROM training_runs GROUP BY status").fetchall()
    found["finished"] = dict(runs).get("finished", 0)
    if found["finished"]:
        epochs = db.sql("SELECT count(*) FROM metrics WHERE step = -1").fetchall()[0][0]
        assert epochs == 5 and db.sql("SELECT count(*) FROM models WHERE version >= 1").fetchall() == [(1,)]
    return found


db = None
while True:
    last = os.path.exists(done)
    if db is None:
        try:
            db = QuantumDatabase.open("clothes.qdb", read_only=True, create=False)
            print("watching", flush=True)
        except NotADatabaseError:
            time.sleep(0.002)
            continue
    version = db.refresh()
    assert not versions or version >= versions[-1]
    versions.append(version)
    for what, count in look(db).items():
        seen.setdefault(what, set()).add(count)
    looks += 1
    with open(sys.argv[2], "w") as note:
        note.write(str(version))
    if last:
        break
findings = [one for one in db.verify() if one.severity != "info"]
assert not findings, findings
db.close()
print(json.dumps({"looks": looks, "versions": len(set(versions)), "last": versions[-1],
                  "seen": {what: sorted(counts) for what, counts in seen.items()}}))
"""


def wait_for(note, version):
    for _ in range(6_000):
        text = note.read_text() if note.exists() else ""
        if text and int(text) >= version:
            return
        time.sleep(0.01)
    raise AssertionError(f"no reader saw version {version} in a minute")


def test_two_readers_watch_the_readme_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 3
    (tmp_path / "reader.py").write_text(READER)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    readers = [
        subprocess.Popen(
            [sys.executable, "reader.py", "done", f"seen-{number}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        namespace: dict[str, object] = {"__name__": "readme"}
        for number, code in enumerate(blocks):
            before_closing = code.partition("db.close()")[0]
            exec(compile(before_closing, f"README.md block {number}", "exec"), namespace)
            if number == 0:
                for reader in readers:  # they are there before the rest happens
                    assert reader.stdout.readline() == "watching\n", reader.stderr.read()
            for reader in range(2):  # each has looked at what this block wrote
                wait_for(tmp_path / f"seen-{reader}", namespace["db"].version)
        newest = namespace["db"].version
        namespace["db"].close()
        (tmp_path / "done").touch()
        finished = [reader.communicate(timeout=120) for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
    for reader, (output, errors) in zip(readers, finished, strict=True):
        assert reader.returncode == 0, errors
        told = json.loads(output.splitlines()[-1])
        assert told["last"] == newest and told["versions"] >= len(blocks)
        # Each of these was written by one commit: all of it or nothing was ever seen.
        assert set(told["seen"]["items"]) <= {0, 1000} and set(told["seen"]["doc"]) <= {0, 1}
        assert set(told["seen"]["train"]) <= {0, 1500} and set(told["seen"]["test"]) <= {0, 297}
        assert {1000, 1, 1500, 297} <= {count for counts in told["seen"].values() for count in counts}
