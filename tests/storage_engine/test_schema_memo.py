import pyarrow as pa
import pytest

from storage_engine.metadata.schema_memo import SchemaMemo


def test_a_schema_is_worked_out_once():
    asked = []

    def names(schema):
        asked.append(schema)
        return schema.names

    memo = SchemaMemo(names)
    first, second = pa.schema([("a", pa.int64())]), pa.schema([("b", pa.string())])
    for _ in range(3):
        assert memo(pa.schema([("a", pa.int64())])) == ["a"]
        assert memo(second) == ["b"]
    assert asked == [first, second]


def test_what_differs_only_in_details_is_not_the_same():
    memo = SchemaMemo(lambda schema: (schema.field(0).nullable, schema.metadata, schema.field(0).type))
    plain = pa.schema([("a", pa.int64())])
    strict = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    marked = plain.with_metadata({"k": "v"})
    wider = pa.schema([("a", pa.int32())])
    for _ in range(2):
        assert memo(plain) == (True, None, pa.int64())
        assert memo(strict) == (False, None, pa.int64())
        assert memo(marked) == (True, {b"k": b"v"}, pa.int64())
        assert memo(wider) == (True, None, pa.int32())


def test_a_refusal_is_not_remembered():
    answers = [ValueError("no"), "yes"]

    def compute(schema):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    memo = SchemaMemo(compute)
    schema = pa.schema([("a", pa.int64())])
    with pytest.raises(ValueError, match="no"):
        memo(schema)
    assert memo(schema) == "yes"
