"""Every SQL block of docs/sql.md runs, and its table of columns is true."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from query.dialect import split
from query.own_statements import parse
from query.statements import Query

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
VALUES = {"q": np.linspace(-1, 1, 8), "labels": [1, 2, 3], "most": 9.5}


@pytest.fixture(scope="module")
def database():
    rng = np.random.default_rng(4)
    with QuantumDatabase.open(":memory:") as made:
        rows = rng.standard_normal((200, 8)).astype(np.float32)
        columns = [
            {"label": int(i % 10), "price": float(rng.random() * 10), "tag": ("red", "green")[i % 2]}
            for i in range(200)
        ]
        items = made.create_collection("items", dimension=8, metric="l2")
        items.insert([f"item {i}" for i in range(200)], rows, metadata=columns)
        made.insert(id="first", vector=rows[0])
        labels = (rows[:, 0] > 0).astype(int)
        made.store_training_data("shapes", data=rows[:80], labels=labels[:80], split="train")
        made.store_training_data("shapes", data=rows[80:120], labels=labels[80:120], split="test")
        yield made


def test_all_blocks_run_in_order(database):
    assert len(BLOCKS) >= 7
    plans = {}
    for block in BLOCKS:
        for source, _ in split(block):
            text = source.written
            wanted = {name: VALUES[name] for name in re.findall(r"\$(\w+)", text) if name != "ds"}
            result = database.sql(text, **wanted)
            plans[text] = result.plan
            assert len(parse(text)) == 1
            assert len(result) >= 1, text
            if isinstance(parse(text)[0], Query):
                assert result.columns
    nearest = [text for text, plan in plans.items() if plan and plan.startswith("nearest")]
    assert len(nearest) == 6
    assert [text for text, plan in plans.items() if plan and plan.startswith("every")] == [
        "SELECT id, vector <#> $q FROM items ORDER BY vector <#> $q LIMIT 3"
    ]


def test_the_table_of_columns_is_true(database):
    rows = re.findall(r"^\| `(\w+)` \| (`.*) \|$", PAGE, re.MULTILINE)
    listed = {name for name, _ in rows}
    for name, columns in rows:
        documented = re.findall(r"`(\w+)`", columns)
        actual = [row[0] for row in database.sql(f"DESCRIBE {name}")]
        assert actual[: len(documented)] == documented, name
        assert columns.endswith("…") or actual == documented or name == "training_data"
    system = {row[0] for row in database.sql("SHOW TABLES")} - {
        row[0] for row in database.sql("SELECT name FROM collections")
    }
    assert system == listed
