"""Checkpoint files as a stranger may make them: any header, any document, any data, signed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

_quoted = json.encoder.encode_basestring_ascii
_SIGNATURE = re.compile(rb'\\"sha256\\":\\"([0-9a-f]{64})(?=\\")')


class Raw(str):
    """JSON that is written as it is, sound or not."""


class Pairs(list[tuple[str, Any]]):
    """An object as its keys and values, which may be there twice."""


def render(value: Any) -> str:
    """As JSON without spaces, ``Raw`` and ``Pairs`` included; not finite numbers as Python does."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict | Pairs):
        items = value.items() if isinstance(value, dict) else value
        return "{" + ",".join([f"{_quoted(k)}:{render(v)}" for k, v in items]) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(render, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    return str(value) if type(value) is int else json.dumps(value)


def taken_apart(raw: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The header's tensors, the document and the data of a sound file."""
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    return header, json.loads(header.pop("__metadata__")["charrnn"]), raw[end:]


def forged(header: Any, document: Any, data: bytes) -> bytes:
    """A file with a digest that is right, of anything that ``render`` takes.

    ``header`` is without the metadata, which ``document`` is put into; where ``document`` is
    ``Raw`` it is put there as it is.
    """
    text = render(document)
    entries = list(header.items()) if isinstance(header, dict) else list(header)
    return framed(render(Pairs([("__metadata__", {"charrnn": text}), *entries])).encode(), data)


def framed(header: bytes, data: bytes) -> bytes:
    """The length, the header, the data; signed where there is a place for it."""
    header += b" " * (-len(header) % 8)
    return signed(len(header).to_bytes(8, "little") + header + data)


def signed(raw: bytes) -> bytes:
    """With the digest made right, where there is one: the last, after that of the corpus."""
    found = list(_SIGNATURE.finditer(raw))
    if not found:
        return raw
    start, end = found[-1].span(1)
    digest = hashlib.sha256(raw[:start] + b"0" * 64 + raw[end:]).hexdigest()
    return raw[:start] + digest.encode() + raw[end:]


def edited(raw: bytes, edit: Callable[[Any, Any], Any]) -> bytes:
    """A sound file whose header and document were changed by ``edit(header, document)``."""
    header, document, data = taken_apart(raw)
    edit(header, document)
    return forged(header, document, data)
