"""charrnn complete: the next word, the rest of one, or a blank."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.console import DeviceOption, ModelOption, say, write
from charrnn.errors import DataError, UsageError

if TYPE_CHECKING:
    from charrnn.completion import Completion


def complete(
    text: Annotated[
        str | None,
        typer.Argument(
            help="What is typed so far; ____ is a blank to fill. Without it, one a line on stdin.",
            metavar="[TEXT]",
        ),
    ] = None,
    model: ModelOption = None,
    n: Annotated[int, typer.Option("-n", help="Suggestions at most.")] = 5,
    next_word: Annotated[
        bool, typer.Option("--next", help="The last word is whole: suggest what follows it.")
    ] = False,
    prefix: Annotated[
        bool, typer.Option("--prefix", help="The last word is not whole: suggest what it becomes.")
    ] = False,
    scores: Annotated[
        bool, typer.Option("--scores", help="A tab and the probability after each word.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="One object a text: id, input, mode, prefix, suggestions, other, ms."
        ),
    ] = False,
    min_p: Annotated[
        float, typer.Option(help="Only words at least as probable as this.", metavar="P")
    ] = 0.0,
    device: DeviceOption = "auto",
) -> None:
    """Suggest words for what a person types, best first.

    A last word without a space behind it may be whole or not: what it could become and what could
    follow it are ranked together. The exit code is 1 where there is nothing to suggest.

    Texts on stdin are answered one by one, at once, an empty line behind each answer.
    """
    from charrnn.api import LanguageModel

    if next_word and prefix:
        raise UsageError("options that exclude each other", "--next and --prefix")
    mode = "next" if next_word else "prefix" if prefix else "auto"
    lm = LanguageModel.load(model, device, say)
    if lm.note:
        say(lm.note)
    found = False
    for number, request in enumerate(_requests() if text is None else [text], 1):
        begin = time.perf_counter()
        answer = lm.completer.complete(request, n, mode=mode, min_p=min_p)
        ms = 1000 * (time.perf_counter() - begin)
        found = found or bool(answer.suggestions)
        if as_json:
            write(_object(number, request, answer, ms))
        else:
            write(_lines(answer, scores) + ("\n" if text is None else ""))
    if not found:
        raise typer.Exit(1)


def _requests() -> Iterator[str]:
    """The lines of stdin as they come."""
    for number, raw in enumerate(sys.stdin.buffer, 1):
        try:
            yield raw.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            where = f"line {number} of stdin"
            raise DataError("invalid UTF-8", where, f"byte offset {error.start}") from None


def _object(number: int, text: str, answer: Completion, ms: float) -> str:
    found = {
        "id": number,
        "input": text,
        "mode": answer.mode,
        "prefix": answer.prefix,
        "suggestions": [{"text": s.text, "insert": s.insert, "p": s.p} for s in answer.suggestions],
        "other": answer.other,
        "ms": round(ms, 3),
    }
    return json.dumps(found, ensure_ascii=False) + "\n"


def _lines(answer: Completion, scores: bool) -> str:
    return "".join(
        f"{s.text}\t{s.p:.4f}\n" if scores else f"{s.text}\n" for s in answer.suggestions
    )
