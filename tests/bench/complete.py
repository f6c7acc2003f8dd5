"""``python -m tests.bench.complete``: how good and how quick completion is.

Words and characters learn the bundled messages for a minute or two each; a simulated typist then
writes the last tenth of the lines, which neither has seen. The rival for words is a modified
Kneser-Ney 5-gram of the same text and vocabulary, ranked by the same code. Blanks are words left
out of these lines. With ``WIKITEXT2=FOLDER`` in the environment, a tenth of that corpus as well
(``train.txt``, ``test.txt``); ``--model RUN`` takes a model of all of it instead.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import regex

from charrnn.api import LanguageModel
from charrnn.backend import select_backend
from charrnn.completion import Completer
from charrnn.completion.request import Request, fold
from charrnn.completion.words import WordCompleter
from charrnn.config import ModelConfig
from charrnn.model import Model
from charrnn.params import initial_values
from charrnn.reading import Reading
from charrnn.simulation import CEILINGS, SLOTS, Suggest, Typing, simulate, suggester
from charrnn.text.tokens import TOKENIZERS, WORD, WORDS
from charrnn.text.words import WordVocabulary
from tests.bench.harness import ROOT, BenchError, Plan, parser, run, tell, undisturbed
from tests.bench.kneser_ney import KneserNey
from tests.bench.startup import CHARRNN, milliseconds
from tests.bench.table import Row

MESSAGES = ROOT / "corpora" / "messages.txt"
WIKITEXT = "WIKITEXT2"

#: Options of the models, and of a model of words that is only as large as a keyboard's.
WORD_MODEL = "--level word --bidirectional"
CHAR_MODEL = "--bidirectional --layers 1 --hidden 256 --dropout 0.3 --minutes 2"
LARGE_CHAR_MODEL = "--layers 2 --hidden 256 --dropout 0.3 --minutes 2"
WIKI_MODEL = (
    "--level word --layers 2 --hidden 200 --dropout 0.4 --batch-size 20 --seq-len 35 "
    "--optimizer sgd --momentum 0 --lr 20 --clip 0.25 --minutes 2"
)
CACHE = 0.2
KEYBOARD = ModelConfig(10_000, "word", hidden_size=256, embed_size=256, tie=True)

Rows = Iterator[Row]


def measure(plan: Plan, model: Path | None = None) -> Rows:
    """The rows of all cases."""
    corpus = os.environ.get(WIKITEXT)
    if model is not None:
        if not corpus:
            raise BenchError(f"--model needs {WIKITEXT}=FOLDER in the environment")
        yield from _wikitext(plan, Path(corpus), model)
        return
    with tempfile.TemporaryDirectory() as folder:
        for level, options in (("word", WORD_MODEL), ("char", CHAR_MODEL)):
            made = trained(plan, MESSAGES, Path(folder) / level, options)
            yield from _messages(plan, level, made)
        yield from _keyboard(plan)
        yield from _large(plan, trained(plan, MESSAGES, Path(folder) / "large", LARGE_CHAR_MODEL))
        if corpus:
            yield from _wikitext(plan, Path(corpus), None, Path(folder))
        else:
            tell(f"WikiText-2 is left out: no {WIKITEXT}=FOLDER in the environment")


def trained(plan: Plan, text: Path, run: Path, options: str) -> Path:
    """A model of a text, in the run folder."""
    budget = ["--minutes", "0.05"] if plan.patience == 0 else []  # the last one counts
    milliseconds([CHARRNN, "train", str(text), "-o", str(run), *options.split(), *budget])
    return run


def held_out(text: Path) -> list[str]:
    """The lines that a model trained on the file has not seen: those of its last tenth."""
    lines = text.read_text(encoding="utf-8")
    return lines[len(lines) - len(lines) // 10 :].splitlines()[2:]


def _messages(plan: Plan, level: str, run: Path) -> Rows:
    lm = LanguageModel.load(run, "cpu")
    lines = held_out(MESSAGES)[: 20 if plan.patience == 0 else None]
    name = f"messages, {level}"
    alone = Completer(single_threaded(lm.config, lm.checkpoint.weights), lm.vocabulary)
    texts = [[line] for line in lines]
    typing = simulate(texts, suggester(alone), WORDS)
    if level == "word":
        assert isinstance(lm.vocabulary, WordVocabulary)
        text = MESSAGES.read_text(encoding="utf-8")
        rival = five_gram(lm.vocabulary, text[: len(text) * 9 // 10])
        yield from _typing(name, typing, simulate(texts, rival, WORDS), goal=1.0)
    else:
        yield from _typing(name, typing, None, goal=0.0)
    yield from _blanks(name, lm, lines)
    yield _cold(plan, level, run)


def _wikitext(plan: Plan, corpus: Path, run: Path | None, folder: Path = Path()) -> Rows:
    """All of it with a model that is there, else a tenth."""
    text = (corpus / "train.txt").read_text(encoding="utf-8")
    goal = 1.15
    if run is None:
        text, goal = text[: text.index("\n", len(text) // 10) + 1], 1.0
        part = folder / "tenth.txt"
        part.write_text(text, encoding="utf-8")
        run = trained(plan, part, folder / "wiki", WIKI_MODEL)
    lm = LanguageModel.load(run, "cpu")
    assert isinstance(lm.vocabulary, WordVocabulary)
    tokenizer = TOKENIZERS[lm.vocabulary.tokenizer]
    test = (corpus / "test.txt").read_text(encoding="utf-8")
    counted = tokenizer.split(text)
    name = f"WikiText-2, {len(counted):,} words"
    five = KneserNey(lm.vocabulary.encode_symbols(counted), len(lm.vocabulary))
    ids = np.concatenate([[lm.vocabulary.start], lm.vocabulary.encode(test)])
    ours = lm.score(test).perplexity
    theirs = float(np.exp(-five.logprob(ids) / (len(ids) - 1)))
    yield Row("perplexity", "", ("charrnn", "5-gram"), f"{name}, test", [ours], [theirs],
              "slow-down", 1.0, f"{len(ids) - 1:,} tokens")  # fmt: skip
    lines = test.splitlines(keepends=True)
    *_, last = itertools.islice((n for n, line in enumerate(lines) if len(line) > 40),
                                6 * plan.turns)  # fmt: skip
    lines = lines[: last + 1]
    rival = ranked(five, lm.vocabulary)
    alone = [[line] for line in lines if len(line) > 40]
    ways: dict[str, tuple[list[list[str]], float]] = {
        "by line": (alone, 0.0), "by line, cache": (alone, CACHE),
        "as a whole": ([lines], 0.0), "as a whole, cache": ([lines], CACHE),
    }  # fmt: skip
    typed: dict[int, Typing] = {}
    rows: list[Row] = []
    for way, (texts, cache) in ways.items():
        if len(texts) not in typed:
            typed[len(texts)] = simulate(texts, rival, tokenizer)
        found = simulate(texts, suggester(lm.completer(cache)), tokenizer)
        rows += _typing(f"WikiText-2 {way}", found, typed[len(texts)], goal=goal)
    yield from sorted(rows, key=lambda row: row.table, reverse=True)


class CountingReader:
    """An n-gram model in the place of a reader of contexts."""

    def __init__(self, model: KneserNey) -> None:
        self.model = model

    def read(self, ids: Sequence[int]) -> Reading:
        return Reading([], np.log(self.model.probabilities(ids))[None])


def five_gram(vocabulary: WordVocabulary, text: str) -> Suggest:
    """A 5-gram model of a text in a vocabulary."""
    return ranked(KneserNey(vocabulary.encode(text), len(vocabulary)), vocabulary)


def ranked(model: KneserNey, vocabulary: WordVocabulary) -> Suggest:
    """What an n-gram model suggests: its words are ranked as those of ours are."""
    words = WordCompleter(CountingReader(model), vocabulary)  # type: ignore[arg-type]

    def suggest(before: str, typed: str, n: int) -> list[str]:
        mode = "prefix" if typed else "auto"
        return [s.text for s in words.complete(Request.of(before + typed, mode), n)[0]]

    return suggest


def _typing(case: str, ours: Typing, theirs: Typing | None, goal: float) -> Rows:
    """Recall and savings against the rival, if there is one."""
    other = theirs or ours
    figure = "rate ratio" if theirs else "ours alone"
    sides = ("charrnn", "5-gram" if theirs else "")
    for k in SLOTS:
        yield Row("next word among the first", "%", sides, f"{case}: {k}",
                  [percent(ours.recall(k))], [percent(other.recall(k))], figure, goal,
                  f"{ours.words:,} words, MRR {ours.mean_reciprocal_rank:.3f}")  # fmt: skip
    ceilings = " and ".join(f"{100 * ours.ceiling(keys):.1f}" for keys in CEILINGS.values())
    for slots in SLOTS:
        yield Row("keys saved", "%", sides, f"{case}: {slots} slots",
                  [percent(ours.savings(slots))], [percent(other.savings(slots))], figure,
                  min(goal, 1.0),
                  f"ceilings {ceilings}")  # fmt: skip


def _latency(case: str, typing: Typing, limit: float) -> Row:
    spread = ", ".join(f"p{100 * q:g} {typing.latency(q):.1f}" for q in (0.5, 0.95, 0.99, 1))
    return Row("a keystroke, 95 of 100 within", "ms", ("charrnn", "limit"), case,
               [typing.latency(0.95)], [limit], "slow-down", 1.0, spread)  # fmt: skip


def _keyboard(plan: Plan) -> Rows:
    """The time of a keystroke depends on the sizes of a model, not on what it has learned."""
    lines = held_out(MESSAGES)[: 10 if plan.patience == 0 else 100]
    words = WORDS.split(MESSAGES.read_text(encoding="utf-8"))
    made_up = (f"word{n}" for n in range(KEYBOARD.vocab_size))
    symbols = list(dict.fromkeys([*words, *made_up]))[: KEYBOARD.vocab_size - 1]
    values = initial_values(KEYBOARD, "uniform", np.random.default_rng(0))
    completer = Completer(single_threaded(KEYBOARD, values), WordVocabulary(symbols, WORDS))
    yield _latency(
        "1x256, 10,000 words",
        simulate([[line] for line in lines], suggester(completer), WORDS),
        5.0,
    )


def _large(plan: Plan, run: Path) -> Rows:
    """Of characters it does: the less it is sure of, the more has to be looked at."""
    lm = LanguageModel.load(run, "cpu")
    alone = Completer(single_threaded(lm.config, lm.checkpoint.weights), lm.vocabulary)
    texts = [[line] for line in held_out(MESSAGES)[: 10 if plan.patience == 0 else 200]]
    for threads, completer in (("one thread", alone), ("all threads", lm.completer())):
        typing = simulate(texts, suggester(completer), WORDS)
        yield _latency(f"2x256, characters, {threads}", typing, 20.0)


def single_threaded(config: ModelConfig, values: dict[str, np.ndarray]) -> Model:
    """On one thread, whatever the machine has."""
    backend, _ = select_backend("cpu", threads=1)
    return Model(config, backend, values)


def percent(share: float) -> float:
    """Above 0, so that there is a ratio even where nothing was right."""
    return 100 * max(share, 1e-6)


def _cold(plan: Plan, level: str, run: Path) -> Row:
    """The whole command, in a process of its own, once its files are in the system's cache."""
    command = [CHARRNN, "complete", "-m", str(run), "have a pleasant"]
    found = [undisturbed(lambda: milliseconds(command), plan.patience)
             for _ in range(3 * plan.turns + 1)][1:]  # fmt: skip
    return Row("a whole charrnn complete", "ms", ("charrnn", "limit"), level,
               found, [250.0] * len(found), "slow-down", 1.0)  # fmt: skip


def _blanks(case: str, lm: LanguageModel, lines: Iterable[str]) -> Rows:
    """A word left out of each line, at a place that is drawn: both ways, one way, left alone."""
    word, rng = regex.compile(WORD), np.random.default_rng(0)
    gaps = []
    for line in lines:
        found = list(word.finditer(line))
        if len(found) >= 4:
            chosen = found[int(rng.integers(1, len(found) - 1))]
            gaps.append((line[: chosen.start()], chosen.group(), line[chosen.end() :]))
    one_way = Completer(_one_way(lm), lm.vocabulary)
    asked: dict[str, Callable[[str, str], Any]] = {
        "both ways": lambda left, right: lm.completer().complete(f"{left}____{right}"),
        "one way, rescored": lambda left, right: one_way.complete(f"{left}____{right}"),
        "left alone": lambda left, right: one_way.complete(left, mode="prefix"),
    }
    hits = {}
    for name, ask in asked.items():
        ranks = [_rank(fold(w), [fold(s.text) for s in ask(left, right).suggestions])
                 for left, w, right in gaps]  # fmt: skip
        hits[name] = {k: percent(sum(1 <= r <= k for r in ranks) / len(ranks)) for k in (1, 5)}
    names = list(hits)
    for better, worse in itertools.pairwise(names):
        for k in (1, 5):
            yield Row("blank among the first", "%", (better, worse), f"{case}: {k}",
                      [hits[better][k]], [hits[worse][k]], "rate ratio", 1.0,
                      f"{len(gaps)} blanks")  # fmt: skip


def _one_way(lm: LanguageModel) -> Model:
    """The half of a bidirectional model that reads from the left."""
    config = replace(lm.config, bidirectional=False)
    return Model(config, lm.model.backend, lm.checkpoint.weights)


def _rank(wanted: str, found: list[str]) -> int:
    return found.index(wanted) + 1 if wanted in found else 0


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", type=Path, metavar="RUN", help="a model of all of WikiText-2")
    arguments = options.parse_args()
    run([lambda plan: measure(plan, arguments.model)], arguments)


if __name__ == "__main__":
    main()
