"""charrnn complete: the next word, the rest of one, or a blank."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.console import (
    DeviceOption,
    ModelOption,
    RawOption,
    at_most_one,
    json_line,
    load_model,
    say,
    stdin,
    write,
)
from charrnn.config import CompleteConfig
from charrnn.errors import DataError, UsageError

if TYPE_CHECKING:
    from charrnn.completion import Completion

_SHELLS = ("bash", "zsh", "fish")
_NAMED = 5  # unknown symbols at most, of all that are counted


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
    insert: Annotated[
        bool, typer.Option("--insert", help="The text to insert instead of the whole word.")
    ] = False,
    min_p: Annotated[
        float, typer.Option(help="Only words at least as probable as this.", metavar="P")
    ] = 0.0,
    cache: Annotated[
        float,
        typer.Option(
            help="Favour words that the text has already, a neural cache; try 0.2.", metavar="W"
        ),
    ] = CompleteConfig.cache,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Suggest below the line that is being typed.")
    ] = False,
    print_shell: Annotated[
        str | None,
        typer.Option(help="A script for bash, zsh or fish: Alt-; completes.", metavar="SHELL"),
    ] = None,
    raw: RawOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Suggest words for what a person types, best first.

    A last word without a space behind it may be whole or not: what it could become and what could
    follow it are ranked together. The exit code is 1 where there is nothing to suggest.

    Texts on stdin are answered one by one, at once, an empty line behind each answer.

    With --interactive, Tab takes the first suggestion and a digit the one with that number. Behind
    a digit, or with Alt, a digit is just typed. Enter prints the line, Ctrl-D on an empty one ends.
    """
    formatted = scores or as_json or insert
    at_most_one({"--next": next_word, "--prefix": prefix})
    instead = {"--interactive": interactive, "--print-shell": print_shell is not None}
    at_most_one(instead | {"--scores, --json or --insert": formatted})
    at_most_one({"--json": as_json, "--scores or --insert": scores or insert})
    at_most_one({"--raw": raw, "--json": as_json} | instead)
    at_most_one({"TEXT": text is not None} | instead)
    mode = "next" if next_word else "prefix" if prefix else "auto"
    CompleteConfig(n, mode, min_p, cache)  # before the model is loaded, and a line is read
    if print_shell is not None:
        write(_script(print_shell))
        return
    if interactive:
        from charrnn.cli.interactive import Session, check_terminal

        check_terminal()
        Session(
            lambda: partial(load_model(model, device).complete, n=n, min_p=min_p, cache=cache), mode
        ).run()
        return
    lm = load_model(model, device)
    found, unknown = False, dict[str, None]()
    for number, request in enumerate(_requests() if text is None else [text], 1):
        begin = time.perf_counter()
        answer = lm.complete(request, n, mode=mode, min_p=min_p, cache=cache)
        ms = 1000 * (time.perf_counter() - begin)
        found = found or bool(answer.suggestions)
        if as_json:
            write(_object(number, request, answer, ms))
        else:
            write(_lines(answer, scores, insert) + "\n" * (text is None), raw=raw)
        unknown |= dict.fromkeys(lm.completer(cache).unknown(request, mode=mode))
    if unknown:  # behind all answers: who keeps one process open may not read stderr
        named = ", ".join(map(repr, list(unknown)[:_NAMED]))
        more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
        symbol = "character" if lm.config.level == "char" else "word"
        say(f"read as the unknown {symbol}: {named}{more}")
    if not found:
        raise typer.Exit(1)


def _script(shell: str) -> str:
    """What makes a key of a shell complete its line."""
    from importlib import resources  # loads what most commands do without

    if shell not in _SHELLS:
        choices = "choose from " + ", ".join(_SHELLS)
        raise UsageError("invalid value", f"--print-shell {shell}", choices)
    place = resources.files("charrnn.cli") / "shell" / f"complete.{shell}"
    return place.read_text(encoding="utf-8")


def _requests() -> Iterator[str]:
    """The lines of stdin as they come."""
    for number, raw in enumerate(stdin(), 1):
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
    return json_line(found)


def _lines(answer: Completion, scores: bool, insert: bool) -> str:
    written = [(s.insert if insert else s.text, s.p) for s in answer.suggestions]
    return "".join(f"{word}\t{p:.4f}\n" if scores else f"{word}\n" for word, p in written)
