"""charrnn sample: text from a model, streamed as it is drawn."""

from __future__ import annotations

import json
import secrets
import sys
from typing import Annotated

import typer

from charrnn.cli.console import DeviceOption, ModelOption, say, write
from charrnn.errors import DataError


def sample(
    model: ModelOption = None,
    prompt: Annotated[
        str,
        typer.Option(help="Text to go on from; - reads it from stdin, less one last line break."),
    ] = "",
    length: Annotated[int, typer.Option(help="Symbols to draw.")] = 500,
    temperature: Annotated[
        float, typer.Option(help="Below 1 bolder choices of the likely, above 1 wilder; 0: argmax.")
    ] = 0.8,
    top_k: Annotated[int, typer.Option(help="Only the k likeliest symbols; 0: all.")] = 0,
    top_p: Annotated[
        float, typer.Option(help="Only the likeliest that together have this probability.")
    ] = 1.0,
    min_p: Annotated[
        float, typer.Option(help="Only those at least this times as likely as the likeliest.")
    ] = 0.0,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same text. [default: a new one, printed]")
    ] = None,
    count: Annotated[int, typer.Option(help="Texts to draw.")] = 1,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End before this text; may be given more than once.", metavar="TEXT"),
    ] = None,
    echo: Annotated[bool, typer.Option("--echo/--no-echo", help="Print the prompt too.")] = True,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out of the prompt what the model lacks.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One object a text: index, seed, prompt, text.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Generate text.

    A single text is printed as it is drawn; several are printed when all are done, with a line
    of --- between them.
    """
    from charrnn.api import LanguageModel
    from charrnn.config import SampleConfig
    from charrnn.sampling import sample_text

    taken = secrets.randbelow(2**32) if seed is None else seed
    config = SampleConfig(length, temperature, top_k, top_p, min_p, taken, count)
    lm = LanguageModel.load(model, device)
    if lm.note:
        say(lm.note)
    prompt = _from_stdin() if prompt == "-" else prompt
    if skip_unknown:
        unknown = lm.vocabulary.unknown_symbols(prompt)
        if unknown:
            say(f"left out of the prompt: {', '.join(map(repr, unknown))}")
        prompt = "".join(c for c in prompt if c not in unknown)
    lm.check_prompt(prompt)
    if seed is None:
        say(f"seed {taken}")

    pieces = sample_text(lm.model, lm.vocabulary, prompt, config, [s for s in stop or () if s])
    begin = prompt if echo else ""
    if count == 1 and not as_json:
        write(begin)
        for [piece] in pieces:
            write(piece)
        write("\n")
        return
    texts = ["".join(parts) for parts in zip(*pieces, strict=True)] or [""] * count
    if as_json:
        for index, text in enumerate(texts):
            record = {"index": index, "seed": taken, "prompt": prompt, "text": text}
            write(json.dumps(record, ensure_ascii=False) + "\n")
    else:
        write("---\n".join(f"{begin}{text}\n" for text in texts))


def _from_stdin() -> str:
    raw = sys.stdin.buffer.read()
    try:
        return raw.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError("invalid UTF-8", "prompt on stdin", f"byte offset {error.start}") from None
