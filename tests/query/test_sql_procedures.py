"""CALL, CREATE MODEL, DROP MODEL and functions reach what is plugged in, with checked arguments."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from query.errors import InvalidParameterError, SqlSyntaxError, UnknownProcedureError
from query.ports import Parameter
from query.session import Session
from query.system.reserved_names import RESERVED_TABLE_NAMES
from storage_engine.errors import InvalidArgumentError, NotFoundError


class Train:
    name = "train"
    parameters = (
        Parameter("model", "text", required=True),
        Parameter("epochs", "integer"),
        Parameter("rate", "number"),
        Parameter("shuffle", "boolean"),
        Parameter("extra", "any"),
    )

    def call(self, arguments):
        self.got = dict(arguments)
        return pa.table({"arguments": [repr(arguments)]})


class Shift:
    name = "shift"
    argument_types = ("VARCHAR", "FLOAT[]")
    result_type = "DOUBLE"
    batches: ClassVar[list[int]] = []

    def evaluate(self, arguments):
        names, vectors = arguments
        assert names.null_count == 0
        assert vectors.null_count == 0
        if "missing" in names.unique().to_pylist():
            raise NotFoundError("There is no shift 'missing'", fix="Use another.", value="missing")
        if "bug" in names.unique().to_pylist():
            raise ZeroDivisionError("bug")
        self.batches.append(len(names))
        lengths = pc.cast(pc.binary_length(names), pa.float64())
        return pc.add(lengths, pc.cast(pc.list_element(vectors, 0), pa.float64()))


class Scores:
    name = "metrics"
    schema = pa.schema([("run", pa.int64()), ("loss", pa.float64())])
    asked = 0

    def rows(self, snapshot):
        self.asked += 1
        return pa.table({"run": [1, 2], "loss": [0.5, 0.25]}, schema=self.schema)


class Models:
    def __init__(self):
        self.calls = []

    def create_model(self, name, options, *, or_replace, if_not_exists, training_rows):
        self.calls.append((name, options, or_replace, if_not_exists, training_rows))
        return pa.table({"model": [name]})

    def drop_model(self, name, *, if_exists):
        self.calls.append((name, if_exists))
        return pa.table({"dropped": [name]})


@pytest.fixture
def plugged(sample):
    train, scores, models = Train(), Scores(), Models()
    session = Session(sample.engine, tables=[scores], procedures=[train], functions=[Shift()], models=models)
    session.train, session.scores, session.models = train, scores, models
    yield session
    session.close()


def test_arguments_are_bound_by_name_and_position(plugged):
    for text, wanted in (
        ("CALL train('m')", {"model": "m"}),
        ("call TRAIN(Model => 'm', EPOCHS := 5)", {"model": "m", "epochs": 5}),
        (
            "CALL train('m', 5, rate => -1.5e-3, shuffle => FALSE)",
            {"model": "m", "epochs": 5, "rate": -0.0015, "shuffle": False},
        ),
        ("CALL train('m', 5.0)", {"model": "m", "epochs": 5}),
        (
            "CALL train(model => $m, extra => [1, -2.5, 'x', [true, null], $v])",
            {"model": "x", "extra": [1, -2.5, "x", [True, None], 7]},
        ),
        ("CALL train(model => 'it''s', extra => NULL);", {"model": "it's", "extra": None}),
        ("CALL train(model => $$a'b$$)", {"model": "a'b"}),
    ):
        parameters = {"m": "x", "v": 7} if "$m" in text else {}
        plugged.execute(text, parameters)
        assert plugged.train.got == wanted, text
        assert [type(value) for value in plugged.train.got.values()] == [type(value) for value in wanted.values()]


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("CALL train()", InvalidParameterError, "needs model"),
        ("CALL train(1)", InvalidParameterError, "model must be a text"),
        ("CALL train('m', 'x')", InvalidParameterError, "epochs must be a whole number"),
        ("CALL train('m', 1.5)", InvalidParameterError, "epochs must be a whole number"),
        ("CALL train('m', true)", InvalidParameterError, "epochs must be a whole number"),
        ("CALL train('m', NULL)", InvalidParameterError, "Leave it out"),
        ("CALL train('m', shuffle => 1)", InvalidParameterError, "true or false"),
        ("CALL train('m', epoch => 1)", SqlSyntaxError, "Did you mean epochs"),
        ("CALL train('m', nothing => 1)", SqlSyntaxError, "model, epochs"),
        ("CALL train('m', model => 'x')", SqlSyntaxError, "twice"),
        ("CALL train('m', 1, 1, true, 1, 1)", SqlSyntaxError, "takes 5 arguments"),
        ("CALL trian('m')", UnknownProcedureError, "Did you mean train"),
        ("CALL train($m)", InvalidParameterError, r"\$m has no value"),
    ],
)
def test_wrong_arguments_name_the_accepted_ones(plugged, text, error, says):
    with pytest.raises(error, match=says):
        plugged.execute(text)


def test_model_statements(plugged):
    plugged.execute(
        "CREATE MODEL m OPTIONS (qubits = 6, encoding = 'amplitude', rates = [0.1, 0.2], seed = $s)", {"s": 3}
    )
    plugged.execute('CREATE OR REPLACE MODEL "my model" AS SELECT vector, label FROM digits WHERE label > $l', {"l": 3})
    plugged.execute('CREATE MODEL IF NOT EXISTS m; DROP MODEL IF EXISTS m; DROP MODEL "my model"')
    first, second, third, *drops = plugged.models.calls
    options = {"qubits": 6, "encoding": "amplitude", "rates": [0.1, 0.2], "seed": 3}
    assert first == ("m", options, False, False, None)
    assert second[:4] == ("my model", {}, True, False)
    assert second[4].column_names == ["vector", "label"]
    assert second[4].schema.field("vector").type == pa.list_(pa.float32(), 6)
    assert min(second[4]["label"].to_pylist()) > 3
    assert third == ("m", {}, False, True, None)
    assert drops == [("m", True), ("my model", False)]


def test_functions_are_vectorised_and_strict_about_null(plugged, sample):
    Shift.batches.clear()
    [(rows, total)] = plugged.execute("SELECT count(shift(tag, vector)), sum(shift(tag, vector)) FROM items")
    tags = sample.tables["items"]["tag"].to_pylist()
    known = [index for index, tag in enumerate(tags) if tag is not None]
    assert rows == len(known)
    wanted = sum(len(tags[index].encode()) + float(sample.vectors["items"][index, 0]) for index in known)
    assert total == pytest.approx(wanted, rel=1e-6)
    assert max(Shift.batches) > 1
    assert plugged.execute("SELECT shift(NULL, [1.0]), shift('ab', NULL), shift('ab', [1.5, 2])").fetchall() == [
        (None, None, 3.5)
    ]
    assert plugged.execute("SELECT shift('ab', $q)", {"q": np.array([2.0, 1.0])}).fetchone() == (4.0,)
    assert plugged.execute("SELECT shift('ab', $q)", {"q": [2, 1]}).fetchone() == (4.0,)


def test_functions_work_on_nearest_rows_and_in_conditions(plugged):
    text = "SELECT id, shift('a', vector) FROM items WHERE shift('a', vector) > 1 ORDER BY vector <-> $q LIMIT 3"
    result = plugged.execute(text, {"q": np.zeros(8)})
    assert result.plan.startswith("nearest 3")
    assert all(row[1] > 1 for row in result)


def test_errors_of_functions_keep_their_type(plugged):
    with pytest.raises(NotFoundError, match="no shift 'missing'"):
        plugged.execute("SELECT shift('missing', vector) FROM items")
    assert plugged.execute("SELECT shift('a', [1])").fetchone() == (2.0,)


def test_system_tables_are_computed_only_when_named(plugged):
    assert plugged.execute("SELECT loss FROM metrics WHERE run = 2").fetchall() == [(0.25,)]
    assert plugged.scores.asked == 1
    plugged.execute("SELECT 'metrics', 1 AS metrics FROM items LIMIT 1")
    plugged.execute("SHOW TABLES")
    plugged.execute("DESCRIBE items")
    assert plugged.scores.asked == 1


def test_names_are_reserved(plugged, sample):
    assert {"collections", "datasets", "training_data", "metrics", "models"} <= plugged.reserved_names
    assert plugged.reserved_names >= RESERVED_TABLE_NAMES
    for tables in ([Scores(), Scores()], [type("Upper", (Scores,), {"name": "Metrics"})()]):
        with pytest.raises(InvalidArgumentError):
            Session(sample.engine, tables=tables)
