"""Arrow tables as pandas or polars frames, where the user has those packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from query.errors import MissingDependencyError

if TYPE_CHECKING:
    import pandas
    import polars


def to_pandas(table: pa.Table) -> pandas.DataFrame:
    """A pandas frame of an Arrow table.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    try:
        import pandas  # noqa: F401 - only asks whether it is there
    except ImportError as error:
        raise MissingDependencyError("pandas is not installed", fix="pip install 'qstore-db[frames]'") from error
    return table.to_pandas()


def to_polars(table: pa.Table) -> polars.DataFrame:
    """A polars frame of an Arrow table.

    Raises:
        MissingDependencyError: polars is not installed.
    """
    try:
        import polars
    except ImportError as error:
        raise MissingDependencyError("polars is not installed", fix="pip install 'qstore-db[frames]'") from error
    return polars.DataFrame(table)
