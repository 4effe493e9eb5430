"""How figures are made and written: by matplotlib's figure alone, which needs no display."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from qstore_db.errors import MissingDependencyError


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure of so many inches.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "matplotlib is not installed", fix="pip install 'qstore-db[demo]', or print the text of the picture"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Any, path: str | os.PathLike[str]) -> Path:
    """Write a figure; the suffix says which kind of file."""
    figure.savefig(path, dpi=120)
    return Path(path)
