"""A collection's schema as a JSON object, the same in log records and manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage_engine.schema import CollectionSchema, GraphOptions, Metric, Role, VectorType
from storage_engine.validation import check_schema


def schema_to_json(schema: CollectionSchema) -> dict[str, Any]:
    """A JSON object of plain values; ``dtype`` is left out where it is float32, as before format 1.2."""
    dtype = {} if schema.dtype is VectorType.FLOAT32 else {"dtype": schema.dtype.value}
    return {
        "name": schema.name,
        "uuid": schema.uuid,
        "dimension": schema.dimension,
        "metric": schema.metric.value,
        "role": schema.role.value,
        "created_at": schema.created_at,
        "graph": {
            "m": schema.graph.m,
            "ef_construction": schema.graph.ef_construction,
            "seed": schema.graph.seed,
            "minimum_rows": schema.graph.minimum_rows,
        },
        "attributes": [list(pair) for pair in schema.attributes],
        **dtype,
    }


def schema_from_json(value: Mapping[str, Any]) -> CollectionSchema:
    """Inverse of :func:`schema_to_json`.

    Raises:
        ValueError, TypeError, KeyError: The value has another shape, or a number out of its range.
    """
    graph = value["graph"]
    schema = CollectionSchema(
        name=str(value["name"]),
        uuid=str(value["uuid"]),
        dimension=int(value["dimension"]),
        metric=Metric(value["metric"]),
        role=Role(value["role"]),
        created_at=float(value["created_at"]),
        graph=GraphOptions(
            m=int(graph["m"]),
            ef_construction=int(graph["ef_construction"]),
            seed=int(graph["seed"]),
            minimum_rows=int(graph["minimum_rows"]),
        ),
        attributes=tuple((str(key), str(text)) for key, text in value["attributes"]),
        dtype=VectorType(value.get("dtype", "float32")),
    )
    check_schema(schema)  # its error is a ValueError
    return schema
