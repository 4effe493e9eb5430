"""Checkpoints: the whole state of a run in one file that can tell when it is damaged.

The file is a Zarr version 3 group in a zip store: one flat array for each dtype, in one chunk protected by CRC-32C. The
group's attributes say which stretch of it is which array, how long each chunk must be, and the SHA-256 of everything,
because Zarr reads a missing chunk as zeros. Nothing is pickled; only the codecs named here are accepted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import DamagedError, QStoreError
from qstore_db.models.named import AnyModel, model_of
from qstore_db.models.reduction import Reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.models.target_scaling import TargetScaling
from qstore_db.training.best_epoch import BestEpoch
from qstore_db.training.decision_log import Decided
from qstore_db.training.gradient_log import GradientLog
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registry import Scores
from qstore_db.training.step import EpochSums, TrainState
from storage_engine.batch import FileReference, JsonValue
from storage_engine.engine import Engine

KIND: Final = "ckpt"
FORMAT: Final = 1
DTYPES: Final = ("float32", "float64", "int64")
_CODECS: Final = ["bytes", "crc32c"]
_CRC_BYTES: Final = 4
_EPOCH_ZERO: Final = (1980, 1, 1, 0, 0, 0)
_PARAMETERS, _OPTIMIZER, _REDUCTION = "parameters/", "optimizer/", "reduction/"
_SCALING, _BEST = "scaling/", "best/"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A run at one moment.

    Args:
        model: The model's name.
        run_id: The run.
        spec: What is trained.
        options: How.
        reduction: Fitted on the training rows.
        state: Parameters, optimizer state and position.
        saved_at: Seconds since the epoch.
        scaling: Units of a regressor's targets, fitted on the training rows.
    """

    model: str
    run_id: int
    spec: ModelSpec
    options: TrainingOptions
    reduction: Reduction
    state: TrainState
    saved_at: float
    scaling: TargetScaling | None = None

    def model_itself(self) -> AnyModel:
        """The model that was trained, without its parameters."""
        return model_of(self.spec, self.reduction, self.scaling)


def save(engine: Engine, checkpoint: Checkpoint) -> FileReference:
    """Write a checkpoint's file; it belongs to the database once a commit attaches it."""
    content = encode(checkpoint)

    def write(sink: BinaryIO) -> None:
        sink.write(content)

    return engine.stage_file(KIND, ".zip", write)


def load(engine: Engine, file: FileReference) -> Checkpoint:
    """Read an attached checkpoint.

    Raises:
        DamagedError: The file is damaged.
    """
    return decode(engine.read_file(file.kind, file.name), name=file.name)


def encode(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as the bytes of its file; equal checkpoints give equal bytes."""
    state = checkpoint.state
    arrays = {_PARAMETERS + name: array for name, array in state.parameters.items()}
    arrays |= {_OPTIMIZER + name: array for name, array in state.optimizer_state.items()}
    arrays |= {_REDUCTION + name: array for name, array in checkpoint.reduction.arrays.items()}
    if checkpoint.scaling is not None:
        arrays |= {_SCALING + name: array for name, array in checkpoint.scaling.arrays.items()}
    if state.best is not None:
        arrays |= {_BEST + name: array for name, array in state.best.parameters.items()}
    document: dict[str, JsonValue] = {
        "model": checkpoint.model,
        "run_id": checkpoint.run_id,
        "spec": dict(checkpoint.spec.to_json()),
        "options": dict(checkpoint.options.to_json()),
        "epoch": state.epoch,
        "sums": dataclasses.asdict(state.sums),
        "steps": state.steps,
        "circuits": state.circuits,
        "seconds": state.seconds,
        "gradient_log": state.gradient_log.to_json(),
        "decisions": [one.to_json() for one in state.decisions],
        "saved_at": checkpoint.saved_at,
    }
    if state.best is not None:
        scores = dataclasses.asdict(state.best.scores)
        document["best"] = {"epoch": state.best.epoch, "value": state.best.value, "scores": scores}
    return pack(arrays, document)


def decode(content: bytes, *, name: str) -> Checkpoint:
    """The checkpoint in a file's bytes.

    Args:
        content: Of the file.
        name: Of the file, for messages.

    Raises:
        DamagedError: The bytes are not what :func:`encode` writes.
    """
    arrays, document = unpack(content, name=name)
    try:
        return _checkpoint(arrays, document)
    except (KeyError, TypeError, ValueError, QStoreError) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from error


def _checkpoint(arrays: Mapping[str, NDArray[Any]], document: Mapping[str, Any]) -> Checkpoint:
    spec = ModelSpec.from_json(document["spec"])
    best = document.get("best")
    scaling = _below(arrays, _SCALING)
    state = TrainState(
        parameters=_below(arrays, _PARAMETERS),
        optimizer_state=_below(arrays, _OPTIMIZER),
        epoch=document["epoch"],
        sums=EpochSums(**document["sums"]),
        steps=document["steps"],
        circuits=document["circuits"],
        seconds=document["seconds"],
        # Checkpoints of the first version have none: all their runs took adjoint gradients.
        gradient_log=GradientLog.from_json(document["gradient_log"]) if "gradient_log" in document else GradientLog(),
        decisions=tuple(map(Decided.from_json, document.get("decisions", ()))),
        best=None if best is None else _best_epoch(best, _below(arrays, _BEST)),
    )
    return Checkpoint(
        model=document["model"],
        run_id=document["run_id"],
        spec=spec,
        options=TrainingOptions(**document["options"]),
        reduction=Reduction.from_arrays(spec, _below(arrays, _REDUCTION)),
        state=state,
        saved_at=document["saved_at"],
        scaling=TargetScaling.from_arrays(scaling, spec.width) if spec.kind == "regressor" else None,
    )


def _best_epoch(document: Mapping[str, Any], parameters: dict[str, NDArray[np.float64]]) -> BestEpoch:
    return BestEpoch(document["epoch"], document["value"], parameters, Scores(**document["scores"]))


def pack(arrays: Mapping[str, NDArray[Any]], document: Mapping[str, JsonValue]) -> bytes:
    """Arrays by name and a JSON document as the bytes of a zip store.

    Args:
        arrays: Of any shape, of one of ``DTYPES``.
        document: Finite numbers, text, lists and mappings.

    Raises:
        TypeError: An array is of another dtype.
    """
    import zarr
    from zarr.codecs import Crc32cCodec
    from zarr.storage import MemoryStore

    flat: dict[str, list[NDArray[Any]]] = {}
    layout: list[JsonValue] = []
    lengths: dict[str, JsonValue] = {}
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name]).reshape(np.shape(arrays[name]))
        dtype = array.dtype.name
        if dtype not in DTYPES:
            raise TypeError(f"array {name!r} is of type {dtype}, not one of {', '.join(DTYPES)}")
        offset = sum(part.size for part in flat.get(dtype, []))
        layout.append({"name": name, "dtype": dtype, "offset": offset, "shape": list(array.shape)})
        flat.setdefault(dtype, []).append(array.ravel())
    joined = {dtype: np.concatenate(parts) for dtype, parts in flat.items() if sum(part.size for part in parts)}
    lengths = {dtype: array.size for dtype, array in sorted(joined.items())}
    attributes: dict[str, JsonValue] = {
        "qstore_checkpoint": FORMAT,
        "document": dict(document),
        "layout": layout,
        "lengths": lengths,
    }
    attributes["sha256"] = _digest(attributes, joined)
    entries: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(entries), attributes=attributes)
    for dtype, array in joined.items():
        stored = group.create_array(
            dtype,
            shape=array.shape,
            dtype=array.dtype,
            chunks=array.shape,
            filters=None,
            compressors=[Crc32cCodec()],
            config={"write_empty_chunks": True},  # a chunk of zeros is written too: a missing one is damage
        )
        stored[:] = array
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for key in sorted(entries):
            file.writestr(zipfile.ZipInfo(key, _EPOCH_ZERO), entries[key].to_bytes())
    return buffer.getvalue()


def unpack(content: bytes, *, name: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and the document that :func:`pack` put into a file's bytes.

    Raises:
        DamagedError: A part is missing, of the wrong length, or fails its checksum.
    """
    try:
        attributes, joined = _read_group(_read_entries(content))
        if attributes["qstore_checkpoint"] != FORMAT:
            raise ValueError(f"it has the format {attributes['qstore_checkpoint']}, this version reads {FORMAT}")
        sealed = attributes.pop("sha256")
        if sealed != _digest(attributes, joined):
            raise ValueError("its digest does not match")
        arrays = {entry["name"]: _cut(entry, joined) for entry in attributes["layout"]}
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        KeyError,
        TypeError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        ArithmeticError,  # of a forged chunk size of zero
    ) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from error
    return arrays, dict(attributes["document"])


def _read_entries(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        infos = file.infolist()
        if len({info.filename for info in infos}) != len(infos):
            raise ValueError("a name occurs twice in it")
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(content):
                raise ValueError(f"its entry {info.filename!r} is compressed")
        return {info.filename: file.read(info) for info in infos}  # reading checks the CRC-32 of each entry


def _read_group(entries: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    import zarr
    from zarr.buffer.cpu import Buffer
    from zarr.storage import MemoryStore

    attributes = dict(json.loads(entries["zarr.json"])["attributes"])
    lengths = attributes["lengths"]
    expected = {"zarr.json"} | {f"{dtype}/{part}" for dtype in lengths for part in ("zarr.json", "c/0")}
    if not set(lengths) <= set(DTYPES) or set(entries) != expected:
        raise ValueError(f"it holds {sorted(entries)}")
    for dtype, length in lengths.items():
        described = json.loads(entries[f"{dtype}/zarr.json"])
        if [codec["name"] for codec in described["codecs"]] != _CODECS:
            raise ValueError(f"its array {dtype} has codecs other than {_CODECS}")
        if described["shape"] != [length] or described["data_type"] != dtype:
            raise ValueError(f"its array {dtype} has shape {described['shape']} instead of {[length]}")
        if len(entries[f"{dtype}/c/0"]) != length * np.dtype(dtype).itemsize + _CRC_BYTES:
            raise ValueError(f"its array {dtype} has a chunk of {len(entries[f'{dtype}/c/0'])} bytes")
    store = MemoryStore({key: Buffer.from_bytes(value) for key, value in entries.items()})
    group = zarr.open_group(store, mode="r")
    return attributes, {dtype: np.asarray(group[dtype][:]) for dtype in lengths}  # type: ignore[index]


def _cut(entry: Mapping[str, Any], joined: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    shape = tuple(entry["shape"])
    size = math.prod(shape)
    if not size:
        return np.empty(shape, entry["dtype"])
    piece = joined[entry["dtype"]][entry["offset"] : entry["offset"] + size]
    return piece.reshape(shape).copy()


def _digest(attributes: Mapping[str, JsonValue], joined: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(attributes, sort_keys=True, allow_nan=False).encode())
    for dtype in sorted(joined):
        digest.update(joined[dtype].data)
    return digest.hexdigest()


def _below(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[np.float64]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _damaged(name: str, what: str) -> DamagedError:
    return DamagedError(
        f"The checkpoint {name} is damaged: {what}",
        fix="Restore the file from a backup of the directory, or train the model again.",
        value=name,
    )
