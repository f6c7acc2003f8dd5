"""charrnn eval: how well a model foresees texts."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.cli.console import DeviceOption, ModelOption, at_most_one, load_model
from charrnn.config import EvalConfig


def eval_(
    files: Annotated[
        list[str],
        typer.Argument(help="Text files, folders of them, .gz, or - for stdin.", metavar="FILE"),
    ],
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object with all figures.")] = False,
    score_only: Annotated[
        bool, typer.Option("--score-only", help="One number: bits per byte of all texts.")
    ] = False,
    per: Annotated[
        str,
        typer.Option(
            help="Figures of each file; or JSON lines, of each line or token.",
            metavar="file|line|token",
        ),
    ] = EvalConfig.per,
    nbest: Annotated[
        bool,
        typer.Option("--nbest", help="Lines are ID<tab>TEXT; the log-probability comes between."),
    ] = EvalConfig.nbest,
    reset: Annotated[
        str,
        typer.Option(help="Begin without a context in each file or line.", metavar="file|line"),
    ] = EvalConfig.reset,
    lanes: Annotated[
        int,
        typer.Option(
            help="Read a text in so many parts at once: quicker, but each begins without a context."
        ),
    ] = EvalConfig.lanes,
    sort: Annotated[
        str,
        typer.Option(
            help="Lines as they come, or the least or the most probable first.",
            metavar="text|surprisal|score",
        ),
    ] = EvalConfig.sort,
    top: Annotated[int, typer.Option(help="Only the first lines; 0: all.")] = EvalConfig.top,
    alternatives: Annotated[
        int, typer.Option(help="Likeliest symbols that are shown of each token.")
    ] = EvalConfig.alternatives,
    device: DeviceOption = "auto",
) -> None:
    """Score texts: perplexity, bits per character and byte, how often a symbol was foreseen.

    A symbol outside the vocabulary is scored as the unknown symbol, and counted; its letters are
    not. The context is carried through a file.

    A file that cannot be scored is reported and the others are; the exit code is then that of the
    first error. Lines are compared by their bits per byte, unknown words being spelled out; those
    of --nbest by their log-probability.
    """
    config = EvalConfig(per, nbest, reset, lanes, sort, top, alternatives)
    at_most_one({"--json": as_json, "--score-only": score_only, "--per": per != "file",
                 "--nbest": nbest})  # fmt: skip
    from charrnn.cli.scores import Batch

    batch = Batch(load_model(model, device), config)
    if nbest:
        batch.hypotheses(files)
    elif per == "line":
        batch.lines(files)
    elif per == "token":
        batch.tokens(files)
    else:
        batch.files(files, as_json=as_json, score_only=score_only)
    if batch.errors:
        raise typer.Exit(batch.errors[0].exit_code)
