"""The pages: each a function of the database and of what is asked for, without a state of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Final, cast

from qstore_db.circuits.drawing import draw
from qstore_db.database import QuantumDatabase
from qstore_db.errors import NotFoundError, QStoreError
from qstore_db.hits import Hits
from qstore_db.models.circuit_model import circuit_of
from qstore_db.models.specification import ModelSpec
from qstore_db.web.markup import Curve, bars, chart, link, page, table

ROWS_SHOWN: Final = 200
NEAREST: Final = 10
NUMBERS_SHOWN: Final = 1024
_DRAWING_CHARACTERS: Final = 110
_LONGEST_NUMBER: Final = 18  # digits of what fits into 64 bits

Query = Mapping[str, str]
Page = Callable[[QuantumDatabase, str, Query], str]


def overview(db: QuantumDatabase, name: str, query: Query) -> str:
    """Collections, data sets, models and the latest runs."""
    del query
    parts = [f'<p class="note">version {db.version}</p>']
    for title, text, target in (
        (
            "Collections",
            "SELECT name, rows, dimension, metric, dtype, role, created_at FROM collections ORDER BY name",
            "collection",
        ),
        (
            "Models",
            "SELECT name, version, status, kind, qubits, layers, accuracy, dataset FROM models ORDER BY name",
            "model",
        ),
    ):
        found = db.sql(text)
        rows = found.fetchall()
        links = [link(target, str(one[0]), name=one[0]) for one in rows]
        parts.append(f"<h2>{title}</h2>" + table(found.columns, rows, {0: links}))
    parts.append("<h2>Latest runs</h2>" + _runs(db, 10))
    return page("Overview", name, "".join(parts))


def collection(db: QuantumDatabase, name: str, query: Query) -> str:
    """Rows of one collection without their vectors, a page at a time."""
    chosen, first = _asked(query, "name"), max(0, _number(query, "first", 0))
    items = db.collection(chosen)
    quoted = '"' + items.name.replace('"', '""') + '"'
    text = f"SELECT * EXCLUDE (vector) FROM {quoted} ORDER BY id LIMIT $most OFFSET $first"  # noqa: S608 - quoted
    found = db.sql(text, most=ROWS_SHOWN, first=first)
    rows = found.fetchall()
    at = list(found.columns).index("id")
    links = [link("row", str(one[at]), collection=items.name, id=one[at]) for one in rows]
    body = f"<p>{len(items):,} rows of {items.dimension} numbers, {items.metric.value}, {items.dtype}</p>"
    body += table(found.columns, rows, {at: links})
    moves = []
    if first:
        moves.append(link("collection", "earlier", name=items.name, first=max(0, first - ROWS_SHOWN)))
    if first + ROWS_SHOWN < len(items):
        moves.append(link("collection", "later", name=items.name, first=first + ROWS_SHOWN))
    return page(items.name, name, body + f"<p>{' · '.join(moves)}</p>")


def row(db: QuantumDatabase, name: str, query: Query) -> str:
    """One row: its metadata, its vector as bars, and the rows nearest to it."""
    items = db.collection(_asked(query, "collection"))
    record = items.get(_asked(query, "id"))
    shown = record.vector[:NUMBERS_SHOWN].tolist()
    body = table(["column", "value"], list(record.metadata.items()))
    body += f'<h2>Vector</h2><p class="note">{len(shown)} of {items.dimension} numbers</p>'
    body += f'<div class="wide">{bars(shown)}</div>'
    condition = query.get("where", "").strip()
    body += f"<h2>Nearest by {items.metric.value}</h2>" + _condition_form(items.name, record.id, condition)
    try:
        most = min(NEAREST + 1, len(items))
        found = items.query(record.vector, top_k=most, where=condition or None)
    except QStoreError as error:
        return page(record.id, name, body + f'<p class="error">{escape(str(error))}</p>')
    hits = cast(Hits, found)  # one vector gives one answer
    near = [pair for pair in zip(hits.ids, hits.scores.tolist(), strict=True) if pair[0] != record.id][:NEAREST]
    links = [link("row", one, collection=items.name, id=one) for one, _ in near]
    body += table(["id", "score"], near, {0: links})
    body += f'<p class="note">found by {escape(hits.strategy)}: {escape(hits.reason)}</p>'
    return page(record.id, name, body)


def sql(db: QuantumDatabase, name: str, query: Query) -> str:
    """A statement and its result; the database is open for reading only."""
    text = query.get("q", "SELECT name, rows, dimension FROM collections")
    body = (
        f'<form action="sql"><textarea name="q" spellcheck="false" aria-label="SQL">{escape(text)}</textarea>'
        "<button>Run</button></form>"
    )
    if "q" in query:
        try:
            found = db.sql(text)
        except QStoreError as error:
            return page("SQL", name, body + f'<p class="error">{escape(str(error))}</p>')
        rows = found.arrow().slice(0, ROWS_SHOWN)
        values = list(zip(*(column.to_pylist() for column in rows.columns), strict=True)) if rows.num_columns else []
        more = f", the first {ROWS_SHOWN} of them here" if len(found) > ROWS_SHOWN else ""
        body += f'<p class="note">{len(found):,} rows{more}</p>' + table(found.columns, values)
        if found.plan:
            body += f"<h2>Plan</h2><pre>{escape(found.plan)}</pre>"
    return page("SQL", name, body)


def models(db: QuantumDatabase, name: str, query: Query) -> str:
    """All models."""
    del query
    found = db.sql("SELECT * FROM models ORDER BY name")
    rows = found.fetchall()
    return page(
        "Models", name, table(found.columns, rows, {0: [link("model", str(one[0]), name=one[0]) for one in rows]})
    )


def model(db: QuantumDatabase, name: str, query: Query) -> str:
    """One model: its circuit and its versions."""
    found = db.sql(
        "SELECT * EXCLUDE (packages) FROM model_versions WHERE model = $m ORDER BY version", m=_asked(query, "name")
    )
    rows = found.arrow().to_pylist()
    if not rows:
        raise NotFoundError(
            f"there is no model {query['name']!r}", fix="See the list of models.", value=_asked(query, "name")
        )
    given: dict[str, Any] = json.loads(rows[-1]["spec"])
    body = table(["setting", "value"], [(key, value) for key, value in given.items() if value is not None])
    drawing = draw(circuit_of(ModelSpec.from_json(given)), width=_DRAWING_CHARACTERS)
    body += f"<h2>Circuit of the latest version</h2><pre>{escape(drawing)}</pre>"
    columns = [column for column in found.columns if column != "spec"]
    runs = [link("run", str(one["run_id"]), id=one["run_id"]) if one["run_id"] else "–" for one in rows]
    values = [[one[column] for column in columns] for one in rows]
    body += "<h2>Versions</h2>" + table(columns, values, {columns.index("run_id"): runs})
    return page(_asked(query, "name"), name, body)


def runs(db: QuantumDatabase, name: str, query: Query) -> str:
    """All runs, the latest first."""
    del query
    return page("Runs", name, _runs(db, ROWS_SHOWN))


def run(db: QuantumDatabase, name: str, query: Query) -> str:
    """One run: its curves and settings."""
    number = _number(query, "id", 0)
    found = db.run(number)
    epochs = found.metrics().arrow().to_pydict()
    body = f"<p>{escape(found.record.model)} on {escape(found.record.dataset)}, {escape(found.status)}</p>"
    drawn = []
    for what, unit in (("loss", "mean over rows"), ("accuracy", "share of rows")):
        curves = [Curve(part, epochs["epoch"], epochs[f"{part}_{what}"]) for part in ("train", "validation")]
        drawn.append(chart(what, curves, unit))
    body += f'<div class="charts">{"".join(drawn)}</div>'
    facts = db.sql("SELECT * EXCLUDE (options, packages, gradient_log) FROM training_runs WHERE run_id = $r", r=number)
    body += "<h2>Facts</h2>" + table(
        ["what", "value"],
        [pair for pair in zip(facts.columns, facts.fetchall()[0], strict=True) if pair[1] is not None],
    )
    return page(f"Run {number}", name, body)


PAGES: Final[Mapping[str, Page]] = {
    "": overview,
    "collection": collection,
    "row": row,
    "sql": sql,
    "models": models,
    "model": model,
    "runs": runs,
    "run": run,
}
"""Path to page."""


def _runs(db: QuantumDatabase, most: int) -> str:
    found = db.sql(
        "SELECT run_id, model, dataset, status, epochs_done, train_loss, train_accuracy, validation_accuracy, backend,"
        " seconds, started_at FROM training_runs ORDER BY run_id DESC LIMIT $most",
        most=most,
    )
    rows = found.fetchall()
    return table(found.columns, rows, {0: [link("run", str(one[0]), id=one[0]) for one in rows]})


def _condition_form(collection_name: str, row_id: str, condition: str) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value, quote=True)}">'
        for name, value in (("collection", collection_name), ("id", row_id))
    )
    return (
        f'<form action="row">{hidden}<label>where <input name="where" size="48" value="{escape(condition, quote=True)}"'
        ' placeholder="label = 3 AND price &lt; 10"></label> <button>Search</button></form>'
    )


def _asked(query: Query, key: str) -> str:
    if key not in query:
        raise NotFoundError(f"the address lacks {key}", fix="Follow a link of the page.", value=key)
    return query[key]


def _number(query: Query, key: str, default: int) -> int:
    text = query.get(key, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise NotFoundError(
            f"{key} {text[:_LONGEST_NUMBER]!r} is no number", fix="Follow a link of the page.", value=text
        )
    return int(text)
