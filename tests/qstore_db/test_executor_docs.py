"""Every Python block of docs/executor.md runs, in order."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "executor.md"


def test_python_blocks_run():
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(found) == 5
    namespace: dict[str, object] = {"__name__": "docs"}
    for number, code in enumerate(found):
        exec(compile(code, f"{PAGE.name} block {number}", "exec"), namespace)
