"""Texts coloured by surprisal: on a terminal, and as a web page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

from charrnn.cli.console import escape, one_line
from charrnn.evaluation import Judged

#: Bits from which on a symbol gets the next colour: 1 is a toss of a coin, 10 one in a thousand.
LEVELS = (1, 2, 4, 7, 10)

_BREAK = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"

_COLOURS = ("", "#fff3c4", "#ffd97a", "#ffb15c", "#f77f4f", "#d7413b")
_AT_NIGHT = ("", "#3b3217", "#5c461a", "#814c16", "#a03f1c", "#be2a2c")  # with light letters


def level(nats: float) -> int:
    """Which colour a cross-entropy gets, from 0."""
    return sum(nats / math.log(2) >= bits for bits in LEVELS)


def print_heat(parts: Iterable[Judged], console: Console) -> None:
    """A text on a terminal, coloured symbol by symbol; line by line, so that it may be long."""
    line = Text()
    for segment, verdicts in parts:
        for n, nats in enumerate(verdicts.nats.tolist()):
            colour = _COLOURS[level(nats)]
            style = f"black on {colour}" if colour else ""
            *whole, rest = escape(segment.symbol(n)).split("\n")
            for text in whole:
                line.append(f"{text}{_BREAK}" if style else text, style)
                console.print(line, soft_wrap=True)
                line = Text()
            line.append(rest, style)
    if line:
        console.print(line, soft_wrap=True)


def page(
    title: str, note: str, texts: Iterable[tuple[str, Iterable[Judged]]], symbols: Sequence[str]
) -> Iterator[str]:
    """The page in pieces: of each text its name and what a model makes of it.

    ``note`` says which model; ``symbols`` are those of its vocabulary, by id.
    """
    legend = "".join(f'<i class="s{n}">{name}</i>' for n, name in enumerate(_names()))
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    yield _HEAD.format(
        title=html.escape(title), note=html.escape(note), legend=legend,
        styles="".join(_styles()), digest=digest,
    )  # fmt: skip
    for name, parts in texts:
        begin, end = f"<h2>{html.escape(one_line(name))}</h2>\n<pre>", ""
        for judged in parts:
            yield begin + "".join(_spans(judged, symbols))
            begin, end = "", "</pre>\n"
        yield end
    yield f'<div id="card" role="tooltip"></div>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n'


def _names() -> list[str]:
    """The colours in words."""
    bounds = [f"{bits}" for bits in LEVELS]
    return [
        f"below {bounds[0]} bit",
        *(f"{a} to {b}" for a, b in itertools.pairwise(bounds)),
        f"{bounds[-1]} and more",
    ]


def _styles() -> Iterator[str]:
    for letters, colours, where in (
        ("#111", _COLOURS, "{}"),
        ("#fff", _AT_NIGHT, "@media (prefers-color-scheme:dark){{{}}}"),
    ):
        rules = (f".s{n}{{background:{colour};color:{letters}}}"
                 for n, colour in enumerate(colours) if colour)  # fmt: skip
        yield where.format("".join(rules))


def _spans(judged: Judged, symbols: Sequence[str]) -> Iterator[str]:
    """An element for each symbol; what is shown of it lies beside it as JSON."""
    segment, verdicts = judged
    nats, ranks, entropies, others, p = (
        getattr(verdicts, field).tolist() for field in ("nats", "ranks", "entropies", "others", "p")
    )
    for n, known in enumerate(segment.known.tolist()):
        shown = {
            "p": _number(math.exp(-nats[n])), "bits": _number(nats[n] / math.log(2)),
            "rank": ranks[n], "entropy": _number(entropies[n] / math.log(2)),
            "known": known,
            "others": [[_visible(symbols[other]), _number(q)]
                       for other, q in zip(others[n], p[n], strict=True)],
        }  # fmt: skip
        text = escape(segment.symbol(n))
        data = html.escape(json.dumps(shown, ensure_ascii=False), quote=True)
        shown_text = html.escape(text).replace("\n", f"<b>{_BREAK}</b>\n")
        yield f'<i class="s{level(nats[n])}" data-v="{data}">{shown_text}</i>'


def _number(x: float) -> float:
    """Three significant digits."""
    return float(f"{x:.3g}")


def _visible(symbol: str) -> str:
    """A symbol that can be seen where it stands alone."""
    return one_line(symbol).replace(" ", "\N{OPEN BOX}")


_HEAD = """<!doctype html>
<html lang="und">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';
 base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root{{color-scheme:light dark}}
body{{font:16px/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
pre{{font:15px/1.8 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}}
h1,h2{{line-height:1.2;margin:1.2em 0 .4em;overflow-wrap:anywhere}}
h1{{font-size:1.5rem}}
h2{{font-size:1.1rem}}
i{{font-style:normal}}
i:hover{{outline:2px solid #3b82d7}}
pre b{{opacity:.45;font-weight:normal}}
.legend i{{display:inline-block;padding:0 .5em;border-radius:3px}}
.note{{opacity:.75;font-size:.85rem;overflow-wrap:anywhere}}
#card{{position:absolute;display:none;max-width:22rem;padding:.5em .8em;border-radius:6px;
background:#1d2430;color:#f4f4f4;font:14px/1.5 system-ui,sans-serif;box-shadow:0 4px 14px #0006;
pointer-events:none}}
#card table{{border-collapse:collapse}}
#card td{{padding-right:1em}}
#card td+td{{padding:0;text-align:right}}
#card .expected td{{border-top:1px solid #fff4}}
{styles}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="note">{note}</p>
<p class="legend">Surprisal in bits: {legend}</p>
"""

_SCRIPT = """
"use strict";
const card = document.getElementById("card");
function row(body, a, b) {
  const tr = body.insertRow();
  tr.insertCell().textContent = a;
  tr.insertCell().textContent = b;
  return tr;
}
function show(at) {
  const v = JSON.parse(at.dataset.v);
  const table = document.createElement("table");
  row(table, "probability", v.p + (v.known ? "" : " (unknown)"));
  row(table, "surprisal", v.bits + " bits");
  row(table, "rank", v.rank);
  row(table, "entropy", v.entropy + " bits");
  v.others.forEach(([text, p], n) => {
    row(table, "\\u201c" + text + "\\u201d", p).className = n ? "" : "expected";
  });
  card.replaceChildren(table);
  card.style.display = "block";
  const box = at.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - card.offsetWidth - 8);
  card.style.left = Math.max(4, left) + scrollX + "px";
  card.style.top = box.bottom + scrollY + 6 + "px";
}
document.addEventListener("mouseover", event => {
  const at = event.target.closest("i[data-v]");
  if (at) show(at); else card.style.display = "none";
});
"""
