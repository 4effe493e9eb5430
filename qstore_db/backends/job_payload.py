"""Requests and results of a job as text, so that a job can be collected by a process other than the one that sent it.

A payload is a JSON document, compressed and in base 64. Equal circuits and equal arrays of one job are written once:
the hundred requests of a gradient differ in their weights only. Numbers come back to the last bit.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import Counts, ExecutionResult
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.circuit_json import circuit_from_json, circuit_to_json, observable_from_json, observable_to_json
from qstore_db.errors import DamagedError, QStoreError, UnsupportedRequestError


def requests_to_text(requests: Sequence[ExecutionRequest]) -> str:
    """The requests of a job; :func:`requests_from_text` is the inverse. Tags are not kept: they change no result.

    Raises:
        UnsupportedRequestError: A request brings start states, which no remote provider takes.
    """
    circuits, arrays = _Once(), _Once()
    written = []
    for request in requests:
        if request.amplitudes is not None:
            raise UnsupportedRequestError(
                "a request with start states cannot be kept with a job",
                fix="Prepare the state by gates.",
                value=request.amplitudes.shape,
            )
        written.append(
            {
                "circuit": circuits.place(request.circuit.digest, partial(circuit_to_json, request.circuit)),
                "observables": [observable_to_json(one) for one in request.observables],
                "shots": request.shots,
                "seed": request.seed,
                "weights": _placed(arrays, request.weights),
                "data": _placed(arrays, request.data),
                "fingerprint": request.fingerprint,
            }
        )
    return _packed({"circuits": circuits.values, "arrays": arrays.values, "requests": written})


def requests_from_text(text: str) -> tuple[ExecutionRequest, ...]:
    """The requests that :func:`requests_to_text` wrote.

    Raises:
        DamagedError: The text is not what it wrote; every fingerprint is checked.
    """
    try:
        document = _unpacked(text)
        circuits = [circuit_from_json(one) for one in document["circuits"]]
        arrays = [_read_array(one) for one in document["arrays"]]
        found = [_read_request(one, circuits, arrays) for one in document["requests"]]
        wanted = [one["fingerprint"] for one in document["requests"]]
    except (zlib.error, ValueError, KeyError, TypeError, IndexError, QStoreError) as error:
        raise _damaged("requests", error) from error
    if [one.fingerprint for one in found] != wanted:
        raise _damaged("requests", "a fingerprint does not match")
    return tuple(found)


def results_to_text(results: Sequence[ExecutionResult]) -> str:
    """The results of a job; :func:`results_from_text` is the inverse."""
    return _packed(
        [
            {
                "backend": result.backend,
                "values": None if result.values is None else _array(result.values),
                "probabilities": None if result.probabilities is None else _array(result.probabilities),
                "counts": None if result.counts is None else _counts(result.counts),
            }
            for result in results
        ]
    )


def results_from_text(text: str) -> tuple[ExecutionResult, ...]:
    """The results that :func:`results_to_text` wrote.

    Raises:
        DamagedError: The text is not what it wrote.
    """
    try:
        return tuple(
            ExecutionResult(
                one["backend"],
                values=None if one["values"] is None else _read_array(one["values"]),
                probabilities=None if one["probabilities"] is None else _read_array(one["probabilities"]),
                counts=None if one["counts"] is None else _read_counts(one["counts"]),
            )
            for one in _unpacked(text)
        )
    except (zlib.error, ValueError, KeyError, TypeError, IndexError) as error:
        raise _damaged("results", error) from error


class _Once:
    """Values that are written once each, by key."""

    __slots__ = ("_places", "values")

    def __init__(self) -> None:
        self.values: list[object] = []
        self._places: dict[object, int] = {}

    def place(self, key: object, write: Callable[[], object]) -> int:
        """The place of the value with that key; written if it is new."""
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(write())
        return self._places[key]


def _placed(arrays: _Once, array: NDArray[Any]) -> int:
    return arrays.place((array.shape, array.dtype.str, array.tobytes()), partial(_array, array))


def _read_request(
    document: Any, circuits: Sequence[Circuit], arrays: Sequence[NDArray[np.float64]]
) -> ExecutionRequest:
    circuit, data = circuits[document["circuit"]], arrays[document["data"]]
    samples_only = not data.shape[1] and len(data) == 1
    return ExecutionRequest(
        circuit,
        map(observable_from_json, document["observables"]),
        shots=document["shots"],
        weights=arrays[document["weights"]],
        data=None if samples_only else data,
        seed=document["seed"],
    )


def _array(array: NDArray[Any]) -> list[object]:
    return [list(array.shape), array.dtype.str, base64.b64encode(array.tobytes()).decode("ascii")]


def _read_array(document: Any) -> NDArray[Any]:
    shape, dtype, content = document
    if dtype not in ("<f8", "<i8"):
        raise ValueError(f"an array of type {dtype}")
    return np.frombuffer(base64.b64decode(content, validate=True), dtype).reshape(shape).copy()


def _counts(counts: Sequence[Counts]) -> list[object]:
    # All samples in one array each: a job has thousands of them, of a few outcomes.
    return [
        [one.n_qubits for one in counts],
        [len(one.outcomes) for one in counts],
        _array(np.concatenate([one.outcomes for one in counts])),
        _array(np.concatenate([one.numbers for one in counts])),
    ]


def _read_counts(document: Any) -> tuple[Counts, ...]:
    n_qubits, lengths, outcomes, numbers = document
    ends = np.cumsum(lengths)[:-1]
    parts = zip(np.split(_read_array(outcomes), ends), np.split(_read_array(numbers), ends), strict=True)
    return tuple(Counts(n, places.copy(), seen.copy()) for n, (places, seen) in zip(n_qubits, parts, strict=True))


def _packed(document: object) -> str:
    plain = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(zlib.compress(plain, 6)).decode("ascii")


def _unpacked(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text, validate=True)))


def _damaged(what: str, why: object) -> DamagedError:
    return DamagedError(
        f"The {what} kept with a job are damaged: {why}",
        fix="Restore the database from a backup, or look for the job at its provider by its tag.",
    )
