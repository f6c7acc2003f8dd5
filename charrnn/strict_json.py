"""JSON from strangers: what it means is never in doubt, and what it takes is bounded."""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any

MAX_DEPTH = 32
MAX_CONTAINERS = 1 << 13  # lists and objects: an empty one takes thirty times its room in the text
MAX_DIGITS = 64

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(r"[][{}]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str) -> Any:
    """The value of a JSON text; raises ``ValueError``.

    Refused: equal keys in an object, numbers that are not finite or longer than ``MAX_DIGITS``,
    lists and objects more or deeper than above, and lone surrogates other than those that stand
    for bytes of a file name that are not UTF-8.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_structure(text)
    value = json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_real,
        parse_constant=_constant,
    )
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape")
    return value


def _check_structure(text: str) -> None:
    """Before anything is made of it. What is no JSON may look like any; it is found out later."""
    bare = _STRING.sub("", text)
    if bare.count("[") + bare.count("{") > MAX_CONTAINERS:
        raise ValueError("too many lists and objects")
    depths = accumulate(1 if bracket in "[{" else -1 for bracket in _BRACKET.findall(bare))
    if max(depths, default=0) > MAX_DEPTH:
        raise ValueError("too deep lists and objects")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object with equal keys")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits) if len(digits) <= MAX_DIGITS else math.inf
    if not math.isfinite(value):
        raise ValueError(f"a number of {len(digits)} digits that is too long or too large")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
