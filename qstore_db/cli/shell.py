"""An interactive SQL prompt: statements end with a semicolon, dot commands stand on a line of their own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from qstore_db.cli.printing import print_result
from qstore_db.errors import QStoreError

if TYPE_CHECKING:
    from qstore_db.database import QuantumDatabase

HELP = """\
.tables   what there is to select from
.help     this text
.quit     leave (or Ctrl-D)
Statements end with ; and may span lines, for example:  SELECT name, rows FROM datasets;"""

TABLES = "SELECT name, role, dimension, metric, rows FROM collections ORDER BY name"


def run_shell(db: QuantumDatabase) -> None:
    """Read statements from standard input until it ends; an error ends the statement, not the shell."""
    interactive = sys.stdin.isatty()
    if interactive:
        import readline  # noqa: F401 - importing it gives input() history and editing

        print(f"Q-Store · {db.path} · .help for help")
    pending = ""
    while True:
        try:
            line = input(("   ...> " if pending else "qstore> ") if interactive else "")
        except EOFError:
            if pending.strip():
                _run(db, pending)
            return
        except KeyboardInterrupt:
            pending = ""
            print()
            continue
        command = line.strip()
        if not pending and command in {".quit", ".exit"}:
            return
        if not pending and command == ".help":
            print(HELP)
        elif not pending and command == ".tables":
            _run(db, TABLES)
        else:
            pending += line + "\n"
            if command.endswith(";"):
                _run(db, pending)
                pending = ""


def _run(db: QuantumDatabase, text: str) -> None:
    try:
        print_result(db.sql(text), "table")
    except QStoreError as error:
        print(f"error: {error}", file=sys.stderr)
