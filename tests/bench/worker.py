"""``python -m tests.bench.worker MODULE:FUNCTION``: one call, in a process of its own.

Arguments come as a JSON object on stdin; the result goes to stdout as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    module, function = sys.argv[1].split(":")
    arguments = json.load(sys.stdin)
    print(json.dumps(getattr(importlib.import_module(module), function)(**arguments)))


if __name__ == "__main__":
    main()
