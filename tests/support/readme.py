"""The README, and the programs in it."""

from __future__ import annotations

import re

from tests.support.shell import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

#: What stands in its blocks of Python.
BLOCKS: list[str] = re.findall(r"```python\n(.+?)```", README, re.DOTALL)


def program(name: str) -> str:
    """The program whose first line names its file."""
    [found] = [block for block in BLOCKS if block.startswith(f"# {name}:")]
    return found
