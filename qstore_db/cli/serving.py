"""``qstore serve``: the pages of a database in the browser, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import typer

from qstore_db.errors import InvalidArgumentError


def run_serve(path: Path, port: int, *, opens: bool) -> None:
    """Serve until interrupted.

    Args:
        path: The database directory.
        port: On 127.0.0.1; 0 takes a free one.
        opens: Whether the browser is shown the page.

    Raises:
        InvalidArgumentError: The port cannot be listened on.
    """
    from qstore_db.web.server import WebServer

    try:
        server = WebServer(path, port)
    except OSError as error:
        raise InvalidArgumentError(
            f"port {port} cannot be listened on: {error.strerror}", fix="Give another --port, or 0.", value=port
        ) from error
    with server:
        typer.echo(f"{server.url}\nfor the browser of this machine; Ctrl-C ends it")
        if opens:
            typer.launch(server.url)
        server.wait()
