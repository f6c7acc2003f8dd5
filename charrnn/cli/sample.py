"""charrnn sample: text from a model, streamed as it is drawn."""

from __future__ import annotations

from typing import Annotated

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
from charrnn.config import SampleConfig
from charrnn.errors import DataError


def sample(
    model: ModelOption = None,
    prompt: Annotated[
        str,
        typer.Option(help="Text to continue; - reads it from stdin, without its final line break."),
    ] = "",
    length: Annotated[int, typer.Option(help="Symbols to draw.")] = SampleConfig.length,
    temperature: Annotated[
        float,
        typer.Option(help="Below 1 safer, above 1 wilder; 0 always takes the likeliest symbol."),
    ] = SampleConfig.temperature,
    top_k: Annotated[
        int, typer.Option(help="Only the k likeliest symbols; 0: all.")
    ] = SampleConfig.top_k,
    top_p: Annotated[
        float, typer.Option(help="Only the likeliest symbols that together have this probability.")
    ] = SampleConfig.top_p,
    min_p: Annotated[
        float, typer.Option(help="Only symbols at least this fraction as likely as the likeliest.")
    ] = SampleConfig.min_p,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same text. [default: a new one, printed]")
    ] = None,
    count: Annotated[int, typer.Option(help="Texts to draw.")] = SampleConfig.count,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End before this text; may be given more than once.", metavar="TEXT"),
    ] = None,
    echo: Annotated[bool, typer.Option("--echo/--no-echo", help="Print the prompt too.")] = True,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Drop prompt symbols outside the vocabulary.")
    ] = False,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Let the unknown symbol be drawn too.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One object a text: index, seed, prompt, text.")
    ] = False,
    raw: RawOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Generate text.

    A single text is printed as it is drawn; several are printed when all are done, with a line
    of --- between them.
    """
    from charrnn.sampling import sample_text

    at_most_one({"--json": as_json, "--raw": raw})
    taken = _new_seed() if seed is None else seed
    config = SampleConfig(
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=taken,
        count=count,
        unknown=allow_unknown,
    )
    lm = load_model(model, device)
    prompt = _from_stdin() if prompt == "-" else prompt
    unknown = lm.unknown_symbols(prompt)
    if skip_unknown and unknown:
        say(f"left out of the prompt: {', '.join(map(repr, unknown))}")
        prompt = lm.without_unknown(prompt)
    elif unknown:
        lm.check_prompt(prompt)
        say(f"read as the unknown word: {', '.join(map(repr, unknown))}")
    if seed is None:
        say(f"seed {taken}")

    pieces = sample_text(lm.model, lm.vocabulary, prompt, config, stop or ())
    begin = prompt if echo else ""
    if count == 1 and not as_json:
        for [piece] in pieces:  # until the first one comes, there may be notes
            write(begin + piece, raw=raw)
            begin = ""
        write("\n")
        return
    texts = ["".join(parts) for parts in zip(*pieces, strict=True)]
    if as_json:
        for index, text in enumerate(texts):
            record = {"index": index, "seed": taken, "prompt": prompt, "text": text}
            write(json_line(record))
    else:
        write("---\n".join(f"{begin}{text}\n" for text in texts), raw=raw)


def _from_stdin() -> str:
    raw = stdin().read()
    try:
        return raw.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError("invalid UTF-8", "prompt on stdin", f"byte offset {error.start}") from None


def _new_seed() -> int:
    import secrets  # loads what most commands do without

    return secrets.randbelow(2**32)
