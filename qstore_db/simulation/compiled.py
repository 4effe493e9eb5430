"""How kernels are compiled: without the interpreter lock, without reordering of sums, once a machine.

Numba's own cache looks only at the file of the outermost function; a kernel built of several files would stay stale
when one of the others changes. So the cache folder is named after a digest of all of them.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., object])

_SOURCES: Final = (
    "compiled",
    "frame_kernel",
    "packing",
    "pauli_adjoint",
    "pauli_kernel",
    "pauli_program",
    "shot_kernel",
    "simd",
    "state_kernel",
    "string_kernel",
)

LANES_SOURCES: Final = (
    "angles",
    "atomics",
    "entry",
    "job",
    "kernel_views",
    "lanes",
    "packing",
    "passes",
    "readout_sweeps",
    "simd",
    "softmax_head",
    "sweeps",
    "turns",
    "wide",
)
"""What the object file of ``machine_code`` is made of."""

_PACKAGE_CACHE: Final = Path(__file__).with_name("__pycache__")

# No fastmath: sums keep their order, so equal inputs give equal bits in every lane.
OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy", "boundscheck": False}


def compiled(function: Function) -> Function:
    """The function as a Numba kernel, compiled at its first call and kept on disk; see :func:`cache_folder`."""
    return _kept(function, {})


def compiled_without_counts(function: Function) -> Function:
    """Likewise, of a kernel that makes no arrays: uses of its arguments are not counted.

    Counts are atomic, and every inlined part that takes an array raises and lowers them: half the time of a small part.
    """
    return _kept(function, {"_nrt": False})


def _kept(function: Function, extra: dict[str, Any]) -> Function:
    import numba

    folder = cache_folder()
    if folder is None:
        return _made(function, "never", extra)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        return cast(Function, numba.njit(cache=True, **OPTIONS, **extra)(function))
    finally:
        numba.config.CACHE_DIR = before


def part(function: Function) -> Function:
    """A function of the kernel that ``machine_code`` makes one object file of; not kept by itself."""
    return _made(function, "never")


def inlined(function: Function) -> Function:
    """A part of one kernel that has a name only for the reader: compiled with its caller, not by itself."""
    return _made(function, "always")


def _made(function: Function, inline: Literal["never", "always"], extra: dict[str, Any] | None = None) -> Function:
    import numba

    return cast(Function, numba.njit(inline=inline, **OPTIONS, **(extra or {}))(function))


@cache
def cache_folder(sources: tuple[str, ...] = _SOURCES) -> Path | None:
    """Where machine code made of some sources is kept: the first of these that can be written.

    ``NUMBA_CACHE_DIR`` if set, ``__pycache__`` beside the sources, the user's cache folder. None when none can be: each
    process then compiles anew.
    """
    digest = hashlib.sha256()
    for name in sources:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    given = os.environ.get("NUMBA_CACHE_DIR")
    for parent in (Path(given),) if given else (_PACKAGE_CACHE, _user_cache()):
        folder = parent / f"kernels-{digest.hexdigest()[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:  # read-only, or no such place
            continue
    return None


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path("~/Library/Caches/qstore-db").expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir())) / "qstore-db"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "qstore-db"
