"""Two models compared, a typist helped, a text coloured."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from charrnn.api import LanguageModel
from charrnn.cli.console import json_line, rich_console, write
from charrnn.cli.page import page, print_heat
from charrnn.cli.sources import Source, Sources
from charrnn.cli.tables import AT_ONCE, about, decimal, percent, print_table, sign
from charrnn.comparison import Difference, Pair, compare
from charrnn.config import EvalConfig
from charrnn.errors import DataError, UsageError
from charrnn.evaluation import Judged, Line, Score, by_line
from charrnn.files import write_atomically
from charrnn.simulation import SLOTS, simulate, suggester
from charrnn.text.segments import whole_lines
from charrnn.text.tokens import TOKENIZERS, WORDS

_SEED = 0  # of the bootstrap


def show_comparison(
    models: tuple[LanguageModel, LanguageModel],
    config: EvalConfig,
    sources: Sources,
    *,
    as_json: bool,
) -> None:
    """Figures of both, and the difference with its interval."""
    evaluators = [lm.evaluator(lines=config.by_line) for lm in models]
    totals, pairs = [Score(), Score()], list[Pair]()
    for source in sources:
        with sources.reported(source.name):
            both = (source, source.again())
            lines = [by_line(evaluator.judged(text.pieces()))
                     for evaluator, text in zip(evaluators, both, strict=True)]  # fmt: skip
            found, scores = [], [Score(), Score()]
            # Space behind the last symbol is a line to one model, and nothing to another.
            for pair in itertools.zip_longest(*lines, fillvalue=Line(0, 0, "", Score())):
                found.append(Pair.of(*pair))
                scores = [score + line.score for score, line in zip(scores, pair, strict=True)]
            pairs += found
            totals = [total + score for total, score in zip(totals, scores, strict=True)]
    difference = None
    if pairs or not sources.errors:
        with sources.reported(""):
            difference = compare(pairs, _SEED)
    if as_json:
        described = [{**about(lm, config), "total": total.to_dict()}
                     for lm, total in zip(models, totals, strict=True)]  # fmt: skip
        write(json_line({"models": described, "difference": difference and difference.to_dict(),
                         "errors": sources.failed}))  # fmt: skip
        return
    if difference is None:
        return
    print_table(
        ["model", "tokens", "unknown", "perplexity", "bits/byte, spelled"],
        [[name, f"{t.tokens:,}", percent(t.unknown_rate, 2), decimal(t.perplexity, 2),
          decimal(t.bits_per_byte_spelled, 4)]
         for name, t in zip(("first", "second"), totals, strict=True)],
    )  # fmt: skip
    write(_in_words(difference))
    for lm in models:
        sign(lm, config)


def _in_words(d: Difference) -> str:
    better = {"first": "the first is better", "second": "the second is better"}
    verdict = better.get(d.better, "no difference is shown")
    return (
        f"difference {d.bits_per_byte:+.4f} bits/byte, {100 * d.confidence:g} % from {d.low:+.4f} "
        f"to {d.high:+.4f} ({d.lines:,} lines): {verdict}\n"
    )


def show_completion(
    lm: LanguageModel, config: EvalConfig, sources: Sources, *, as_json: bool
) -> None:
    """What suggestions save a typist who writes these texts."""
    tokenizer = TOKENIZERS.get(lm.vocabulary.tokenizer, WORDS)
    completer = lm.completer(config.cache)

    def texts() -> Iterator[Iterable[str]]:
        for source in sources:
            if config.by_line:
                yield from ([line] for line in lines(source))
            else:
                yield lines(source)

    def lines(source: Source) -> Iterator[str]:
        with sources.reported(source.name):
            yield from whole_lines(source.pieces())

    typing = None
    with sources.reported(""):
        try:
            typing = simulate(texts(), suggester(completer), tokenizer)
        except DataError:  # no words; that files could not be read was said
            if not sources.errors:
                raise
    found = typing.to_dict() if typing else None
    if as_json:
        write(json_line({**about(lm, config), "completion": found, "errors": sources.failed}))
        return
    if typing is None or found is None:
        return
    print_table(
        ["suggestions", "next word", "keys saved"],
        [[f"{k}", percent(typing.recall(k)), percent(typing.savings(k))] for k in SLOTS],
    )
    ceilings, latency = found["ceilings"], found["latency_ms"]
    spread = ", ".join(f"{name} {ms:.1f}" for name, ms in latency.items())
    write(
        f"{typing.words:,} words, mean reciprocal rank {typing.mean_reciprocal_rank:.3f}; "
        f"at most {percent(ceilings['at_once'])} of the keys could be saved, "
        f"{percent(ceilings['after_a_letter'])} if each word took a letter; "
        f"a keystroke takes {spread} ms\n"
    )
    sign(lm, config)


def show_heat(lm: LanguageModel, config: EvalConfig, sources: Sources) -> None:
    """Texts on the terminal, coloured by surprisal; as they are where there are no colours."""
    evaluator = lm.evaluator(lines=config.by_line)
    console = rich_console()
    for source in sources:
        with sources.reported(source.name):
            parts = evaluator.judged(source.pieces())
            if console.color_system is not None:
                print_heat(parts, console)
            else:
                for segment, _ in parts:
                    write(segment.text)
    sign(lm, config)


def write_page(lm: LanguageModel, config: EvalConfig, sources: Sources, path: Path) -> None:
    """Texts coloured by surprisal, as a web page; none where no text can be read."""
    evaluator = lm.evaluator(lines=config.by_line, alternatives=EvalConfig.alternatives)
    head = about(lm, config)
    note = f"{head['signature']}, checkpoint {head['checkpoint']}"

    read = False

    def texts() -> Iterator[tuple[str, Iterator[Judged]]]:
        for source in sources:
            if path.exists() and Path(source.name).exists() and path.samefile(source.name):
                raise UsageError("the page would replace its text", path, "give it another name")
            yield source.name, parts(source)
        if sources.errors and not read:
            raise typer.Exit(sources.errors[0].exit_code)

    def parts(source: Source) -> Iterator[Judged]:
        nonlocal read
        with sources.reported(source.name):
            for judged in evaluator.judged(source.pieces()):
                read = True
                yield from judged.parts(AT_ONCE)

    pieces = page("Surprisal", note, texts(), lm.vocabulary.tokens)
    write_atomically(path, (piece.encode() for piece in pieces))
    write(f"{path}\n")
