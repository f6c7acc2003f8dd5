"""charrnn eval: how well a model foresees texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.console import (
    DeviceOption,
    ModelOption,
    at_most_one,
    bars_are_wanted,
    load_model,
)
from charrnn.config import EvalConfig
from charrnn.errors import UsageError

#: Options of the figures that go with another view as well; all others exclude each other.
_ALSO_OF = {"--score-only": ["--lanes"], "--compare": ["--json"], "--completion": ["--json"]}


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
    compare: Annotated[
        Path | None,
        typer.Option(help="A second model: which is better, how sure is that?", metavar="MODEL"),
    ] = None,
    dynamic: Annotated[
        bool,
        typer.Option("--dynamic", help="Also: figures if it learned from what it has scored."),
    ] = EvalConfig.dynamic,
    dynamic_lr: Annotated[
        float,
        typer.Option(help="Learning rate of that. [default: from the level]", show_default=False),
    ] = EvalConfig.dynamic_lr,
    temperature_fit: Annotated[
        str,
        typer.Option(
            help="Also: figures with the temperature that suits this text best.",
            metavar="FILE",
            show_default=False,
        ),
    ] = EvalConfig.temperature_fit,
    completion: Annotated[
        bool,
        typer.Option("--completion", help="What suggestions save someone who types these texts."),
    ] = False,
    cache: Annotated[
        float,
        typer.Option(help="With such a cache as of charrnn complete.", metavar="W"),
    ] = EvalConfig.cache,
    heat: Annotated[bool, typer.Option("--heat", help="The texts, coloured by surprisal.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(help="The same as a web page, with more to see.", metavar="FILE"),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Score texts: perplexity, bits per character and byte, how often a symbol was foreseen.

    A symbol outside the vocabulary is scored as the unknown symbol, and counted; its letters are
    not. The context is carried through a file.

    A file that cannot be scored is reported and the others are; the exit code is then that of the
    first error. Lines are compared by their bits per byte, unknown words being spelled out; those
    of --nbest by their log-probability.
    """
    config = EvalConfig(
        per=per,
        nbest=nbest,
        reset=reset,
        lanes=lanes,
        sort=sort,
        top=top,
        alternatives=alternatives,
        temperature_fit=temperature_fit,
        dynamic=dynamic,
        dynamic_lr=dynamic_lr,
        cache=cache,
    )
    if cache and not completion:
        raise UsageError("invalid value", f"--cache {cache:g}", "it needs --completion")
    view = at_most_one({
        "--score-only": score_only, "--per": per != "file", "--nbest": nbest, "--heat": heat,
        "--html": html is not None, "--compare": compare is not None, "--completion": completion,
    })  # fmt: skip
    of_figures = {
        "--json": as_json, "--lanes": lanes > 1, "--dynamic": dynamic,
        "--temperature-fit": temperature_fit != "",
    }  # fmt: skip
    for option, given in of_figures.items():
        excludes = view != "" and option not in _ALSO_OF.get(view, ())
        at_most_one({option: given, view: excludes})

    from charrnn.cli import records, scores, studies
    from charrnn.cli.sources import Sources

    lm = load_model(model, device)
    # A bar would stand in the way of what is printed while a text is read.
    listed = not config.whole_files or heat
    sources = Sources(files, bars=bars_are_wanted() and not (listed and sys.stdout.isatty()))
    if compare is not None:
        both = (lm, load_model(compare, device))
        studies.show_comparison(both, config, sources, as_json=as_json)
    elif completion:
        studies.show_completion(lm, config, sources, as_json=as_json)
    elif heat:
        studies.show_heat(lm, config, sources)
    elif html is not None:
        studies.write_page(lm, config, sources, html)
    elif nbest:
        records.show_hypotheses(lm, config, sources)
    elif per == "line":
        records.show_lines(lm, config, sources)
    elif per == "token":
        records.show_tokens(lm, config, sources)
    else:
        scores.show_scores(lm, config, sources, as_json=as_json, score_only=score_only)
    if sources.errors:
        raise typer.Exit(sources.errors[0].exit_code)
