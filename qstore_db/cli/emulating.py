"""``qstore emulator …``: services that are emulated on this machine, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

emulator = typer.Typer(name="emulator", help="Emulate a service on 127.0.0.1 until Ctrl-C.", no_args_is_help=True)


@emulator.callback()
def _choose() -> None:
    """Emulate a service on 127.0.0.1 until Ctrl-C."""


_Emulator = TypeVar("_Emulator")


def _listening(port: int, start: Callable[[], _Emulator]) -> _Emulator:
    """What ``start`` makes, with a port that is taken as an error of ours."""
    from qstore_db.errors import InvalidArgumentError

    try:
        return start()
    except OSError as error:
        raise InvalidArgumentError(
            f"port {port} cannot be listened on: {error.strerror}", fix="Give another --port, or 0.", value=port
        ) from error


@emulator.command()
def ionq(
    port: Annotated[int, typer.Option(help="To listen on; 0 takes a free one.", min=0, max=65535)] = 0,
    seed: Annotated[int, typer.Option(help="Seed of all shots.", min=0)] = 0,
    compile_seconds: Annotated[float, typer.Option(help="That a job is submitted before it is ready.", min=0)] = 0.0,
    run_seconds: Annotated[float, typer.Option(help="That a job runs.", min=0)] = 0.0,
) -> None:
    """IonQ's API v0.4 over Q-Store's simulators; prints the variables that lead programs here."""
    from qstore_db.emulators.ionq.emulator import IonqEmulator

    with _listening(
        port, lambda: IonqEmulator(port, seed=seed, compile_seconds=compile_seconds, run_seconds=run_seconds)
    ) as running:
        typer.echo(f"export IONQ_API_KEY={running.api_key}")
        typer.echo(f"export IONQ_API_URL={running.url}")
        typer.echo(f"# programs that use cirq-ionq by itself: export IONQ_REMOTE_HOST={running.origin}")
        running.wait()


@emulator.command()
def pinecone(
    port: Annotated[int, typer.Option(help="To listen on; 0 takes a free one.", min=0, max=65535)] = 0,
    index: Annotated[
        list[str] | None, typer.Option(help="NAME:DIMENSION:METRIC of an index to make; may be given several times.")
    ] = None,
    delay_seconds: Annotated[float, typer.Option(help="How far reads may be behind writes.", min=0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of how far each read is behind.", min=0)] = 0,
) -> None:
    """Pinecone in memory, with exact search; prints the variables that lead programs here."""
    from qstore_db.emulators.pinecone.emulator import PineconeEmulator

    with _listening(port, lambda: PineconeEmulator(port=port, delay_seconds=delay_seconds, seed=seed)) as running:
        for text in index or ():
            running.create_index(*_index(text))
        typer.echo(f"export PINECONE_API_KEY={running.key}")
        typer.echo(f"export PINECONE_CONTROLLER_HOST={running.url}")
        running.wait()


def _index(text: str) -> tuple[str, int, str]:
    from qstore_db.errors import InvalidArgumentError

    name, _, rest = text.partition(":")
    dimension, _, metric = rest.partition(":")
    if not name or not dimension.isdigit():
        raise InvalidArgumentError(f"--index is {text!r}", fix="Write it as items:784:euclidean.", value=text)
    return name, int(dimension), metric or "cosine"
