"""``python -m qstore_db.cli`` is the command ``qstore``."""

from qstore_db.cli.app import main

main()
