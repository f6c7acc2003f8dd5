"""Sound checkpoint files, damaged at random: by hand of a vandal, of chance, of a forger.

``mutations(seed, n)`` makes them and ``judge`` says what became of one: any outcome but those that
are documented is an ``AssertionError``.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from charrnn.checkpoint import Checkpoint, load, save
from charrnn.errors import CharrnnError
from tests.golden.make_checkpoint import golden
from tests.support.checkpoints import SAVED
from tests.support.forgery import Pairs, Raw, forged, framed, render, signed, taken_apart

#: What a file that is not sound may end in.
CODES = {65, 66, 71, 74}

#: Where others of its kind have broken: values that are put in any place.
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, 8, -1, 0.5, 1.0, -0.0, 1e308, 65_536, 65_537, 2**31, 2**32,
    2**53, 2**63, 2**64 - 1, 2**64, 10**30, "", "a", "ab", "\n", "\0", "\x1b[2J", "\ud800",
    "\udcff", "\U0001f600", "\u202e", "../../x", "/dev/zero", "char", "word", "words", "lstm",
    "F32", "F64", "U8", "BF16", "0" * 64, [], {}, [[]], [0], [0, 0], [0, 4], [2, 3], {"a": 1},
    Raw("NaN"), Raw("-Infinity"), Raw("1e999"), Raw("-0"), Raw("9" * 5000), Raw("01"), Raw("+1"),
    Raw('"\\ud800"'), Raw('"\\udc80\\ud800"'), Raw("[" * 200 + "]" * 200), Raw('{"a":1,"a":1}'),
    Raw('"\x07"'), Raw(""), Raw("'a'"), Raw("tru"), Raw("[1,]"), Raw("\ufeff1"), Raw(" 1 "),
]  # fmt: skip


def mutations(seed: int, n: int) -> Iterator[tuple[str, bytes]]:
    """``n`` files, each with what was done to it; the same for the same seed.

    One in two or so has a digest that is right all the same: those are past the first guard.
    """
    draw = random.Random(seed)
    bases = _bases()
    for number in range(n):
        vandal = draw.choice(_VANDALS)
        done = vandal(draw, draw.choice(bases))
        yield f"{number}: {vandal.__name__.strip('_')} (seed {seed})", done


def judge(raw: bytes, path: Path) -> bool:
    """Whether a file, to be written to ``path``, is sound; raises ``AssertionError`` otherwise.

    A sound one is what it says: written and read again it is the same, down to its last bit.
    """
    path.unlink(missing_ok=True)  # some file systems flush what takes another's place
    path.write_bytes(raw)
    try:
        read = load(path)
    except CharrnnError as error:
        assert error.exit_code in CODES, repr(error)
        assert str(path) in str(error), str(error)
        return False
    path.unlink()
    with mock.patch("os.fsync"):  # nothing is lost here, but time
        save(read, path)
    again = load(path)
    assert_equal(again, read)
    assert again.sha256 == read.sha256 != ""
    return True


def assert_equal(one: Checkpoint, other: Checkpoint) -> None:
    """All that is in them, apart from the digest."""
    assert one.config == other.config
    assert one.vocabulary.symbols == other.vocabulary.symbols
    assert one.vocabulary.tokenizer == other.vocabulary.tokenizer
    for name in ("training", "counters", "validation", "corpus", "origin"):
        ours, theirs = (json.dumps(getattr(c, name), sort_keys=True) for c in (one, other))
        assert ours == theirs
    for name in ("weights", "slots", "states"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert np.isfinite(value).all()
            assert value.tobytes() == theirs[key].tobytes()


@functools.cache
def _bases() -> list[bytes]:
    """Of both versions, both levels, with the vocabulary inline and as a tensor."""
    found = [golden(version, level).read_bytes() for version in (1, 2) for level in SAVED]
    for level in SAVED:
        header, document, data = taken_apart(golden(2, level).read_bytes())
        listed = json.dumps(document["vocabulary"], ensure_ascii=False, separators=(",", ":"))
        places = [len(data), len(data) + len(listed.encode())]
        shape = [len(listed.encode())]
        header["vocabulary"] = {"dtype": "U8", "shape": shape, "data_offsets": places}
        document["vocabulary"] = None
        found.append(forged(header, document, data + listed.encode()))
    return found


def _document(draw: random.Random, raw: bytes) -> bytes:
    """A forger changes what the checkpoint says it is, and signs it."""
    header, document, data = taken_apart(raw)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        document = _changed(draw, document)
    return forged(header, document, data)


def _header(draw: random.Random, raw: bytes) -> bytes:
    """Or what tensors are in it, and where."""
    header, document, data = taken_apart(raw)
    changed: Any = header
    for _ in range(draw.choice((1, 1, 2, 5))):
        changed = _changed(draw, changed)
    if not isinstance(changed, dict | Pairs):
        return framed(render(changed).encode(errors="surrogatepass"), data)
    return forged(changed, document, data)


def _data(draw: random.Random, raw: bytes) -> bytes:
    """Or the numbers themselves: most of these are sound, but for NaN and infinities."""
    header, document, data = taken_apart(raw)
    changed = bytearray(data)
    for _ in range(draw.choice((1, 4, 64))):
        changed[draw.randrange(len(changed))] = draw.choice((0, 127, 128, 255, draw.randrange(256)))
    return forged(header, document, bytes(changed))


def _text(draw: random.Random, raw: bytes) -> bytes:
    """Or the document's text, of which anything may come."""
    header, document, data = taken_apart(raw)
    text = render(document)
    return forged(header, Raw(_spoiled(draw, text, '{}[]":,\\0e-.ntu \n\x00é\ud800')), data)


def _header_text(draw: random.Random, raw: bytes) -> bytes:
    """Or the header's."""
    end = 8 + int.from_bytes(raw[:8], "little")
    text = _spoiled(draw, raw[8:end].decode(), '{}[]":,\\0e-.ntu \n\x00é\ud800')
    return framed(text.encode(errors="surrogatepass"), raw[end:])


def _bytes(draw: random.Random, raw: bytes) -> bytes:
    """Chance changes any byte, takes some away, adds some."""
    changed = bytearray(raw)
    start = draw.randrange(max(1, len(changed)))
    count = draw.choice((1, 1, 1, 8, 100))
    for at in range(start, min(len(changed), start + count)):
        changed[at] = draw.choice((changed[at] ^ (1 << draw.randrange(8)), draw.randrange(256)))
    match draw.randrange(6):
        case 0:
            del changed[start : start + count]
        case 1:
            changed[start:start] = bytes(draw.randrange(256) for _ in range(count))
        case 2:
            del changed[start:]
        case 3:
            changed[start:start] = changed[start : start + draw.randrange(1000)]
    return bytes(changed)


def _bytes_signed(draw: random.Random, raw: bytes) -> bytes:
    """And a vandal signs that."""
    return signed(_bytes(draw, raw))


_VANDALS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _document, _document, _document, _header, _header, _data, _text, _header_text,
    _bytes, _bytes_signed,
)  # fmt: skip


def _changed(draw: random.Random, value: Any) -> Any:
    """A value of JSON with something in it removed, exchanged, doubled or of another kind."""
    if isinstance(value, dict | Pairs) and value and draw.random() < 0.85:
        pairs = Pairs(value.items() if isinstance(value, dict) else value)
        at = draw.randrange(len(pairs))
        key, inner = pairs[at]
        match draw.randrange(12):
            case 0:
                del pairs[at]
            case 1:
                pairs.insert(draw.randrange(len(pairs)), (key, _changed(draw, inner)))
            case 2:
                pairs[at] = (draw.choice([v for v in VALUES if type(v) is str]), inner)
            case 3:
                pairs.append((draw.choice(("a", "m", "optim.a", "state.9.h", "")), inner))
            case 4:
                other = draw.randrange(len(pairs))
                pairs[at], pairs[other] = (key, pairs[other][1]), (pairs[other][0], inner)
            case _:
                pairs[at] = (key, _changed(draw, inner))
        return pairs
    if isinstance(value, list) and value and draw.random() < 0.85:
        items = list(value)
        at = draw.randrange(len(items))
        match draw.randrange(6):
            case 0:
                del items[at]
            case 1:
                items.insert(draw.randrange(len(items)), items[at])
            case 2:
                draw.shuffle(items)
            case _:
                items[at] = _changed(draw, items[at])
        return items
    if isinstance(value, int | float) and draw.random() < 0.5:
        return draw.choice((value + 1, value - 1, -value, value * 2, value + 0.5, float(value)))
    return draw.choice(VALUES)


def _spoiled(draw: random.Random, text: str, symbols: str) -> str:
    """A text with a few characters exchanged, removed or put in."""
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(len(text))
        new = draw.choice(("", draw.choice(symbols), text[at] + draw.choice(symbols), text[at] * 2))
        text = text[:at] + new + text[at + draw.choice((1, 1, 1, 20)) :]
    return text
