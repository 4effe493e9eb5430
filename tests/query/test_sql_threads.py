"""The first statements of a process may come from many threads at once."""

import subprocess
import sys

FIRST_STATEMENTS = """
import sys, threading
from qstore_db.database import QuantumDatabase

sys.setswitchinterval(1e-5)
database = QuantumDatabase.open(":memory:")
start, found, lock = threading.Barrier(8), [], threading.Lock()

def ask():
    start.wait()
    rows = database.sql("SELECT 40 + 2").fetchall()
    with lock:
        found.append(rows)

threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(found == [[(42,)]] * 8)
"""


def test_the_parser_is_loaded_once_by_whoever_comes_first():
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", FIRST_STATEMENTS], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == "True", done.stderr
