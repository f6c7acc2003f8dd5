"""How much typing completion saves: a typist who takes every suggestion that is right.

Conventions differ, so here are ours. Words are counted, and one key behind each for the space;
punctuation is read as context, but its keys are not counted. A word that is suggested is taken at
once, for one key that brings the space as well. A suggestion is right whatever its case.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from charrnn.completion import Completer
from charrnn.completion.request import fold, is_word_character, recent
from charrnn.errors import DataError
from charrnn.text.tokens import Tokenizer

#: From a text before a word, what of the word is typed, and n: the n likeliest words.
Suggest = Callable[[str, str, int], Sequence[str]]

SLOTS = (1, 3, 5)

#: What could be saved at most: keys that each word takes if it is always the first suggestion, at
#: once or behind its first letter.
CEILINGS = {"at_once": 1, "after_a_letter": 2}

_SHARES = (0.5, 0.95, 0.99)
_ABOVE = 20_000  # characters of a text that are kept: more than completers read


@dataclass
class Typing:
    """What was typed, and what that took.

    ``ranks`` of each word among the suggestions before its first letter, from 1; 0: not there.
    ``keys`` are those used with so many slots for suggestions, ``letters`` those of all words.
    ``seconds`` are the times that suggesting took.
    """

    ranks: list[int] = field(default_factory=list)
    letters: int = 0
    keys: dict[int, int] = field(default_factory=lambda: dict.fromkeys(SLOTS, 0))
    seconds: list[float] = field(default_factory=list)

    @property
    def words(self) -> int:
        return len(self.ranks)

    def recall(self, k: int) -> float:
        """The share of words that are among the first k before a letter is typed."""
        return sum(1 <= rank <= k for rank in self.ranks) / self.words

    @property
    def mean_reciprocal_rank(self) -> float:
        """Of the words that are not suggested, the reciprocal is 0."""
        return sum(1 / rank for rank in self.ranks if rank) / self.words

    def savings(self, slots: int) -> float:
        """The share of keys that are saved."""
        return 1 - self.keys[slots] / (self.letters + self.words)

    def ceiling(self, keys: int) -> float:
        """The savings if each word took so many keys: 1, a selection; 2, a letter before it."""
        return 1 - keys * self.words / (self.letters + self.words)

    def latency(self, share: float) -> float:
        """Milliseconds that so large a share of the suggestions took at most."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """All figures, by the names that ``charrnn eval --completion --json`` gives them."""
        return {
            "words": self.words,
            "recall": {str(k): self.recall(k) for k in SLOTS},
            "mean_reciprocal_rank": self.mean_reciprocal_rank,
            "keys_saved": {str(k): self.savings(k) for k in SLOTS},
            "ceilings": {name: self.ceiling(keys) for name, keys in CEILINGS.items()},
            "latency_ms": {f"p{100 * share:g}": self.latency(share) for share in _SHARES},
        }


def suggester(completer: Completer) -> Suggest:
    """What a completer suggests to a typist."""

    def suggest(before: str, typed: str, n: int) -> list[str]:
        mode = "prefix" if typed else "auto"
        return [s.text for s in completer.complete(before + typed, n, mode=mode).suggestions]

    return suggest


def simulate(texts: Iterable[Iterable[str]], suggest: Suggest, tokenizer: Tokenizer) -> Typing:
    """Type texts, each line by line with its break, with the help of ``suggest``.

    The lines above one in its text are context, as are unknown words, ``<unk>``. Raises
    ``DataError`` where there is no word to type.
    """
    typing = Typing()
    for lines in texts:
        above = ""
        for line in lines:
            tokens = tokenizer.split(line)
            for n, word in enumerate(tokens):
                if is_word_character(word[0]) and word != tokenizer.unknown:
                    before = tokenizer.join(tokens[: n + 1]).removesuffix(word)
                    _type(word, above + before, suggest, typing)
            above = recent(above + line, _ABOVE)
    if not typing.words:
        raise DataError("text without words", remedy="there is nothing to type")
    return typing


def _type(word: str, before: str, suggest: Suggest, typing: Typing) -> None:
    """One word, letter by letter, until the fewest slots suggest it."""
    wanted, most = fold(word), max(SLOTS)
    open_slots = set(SLOTS)
    for typed in range(len(word)):
        begin = time.perf_counter()
        found = [fold(s) for s in suggest(before, word[:typed], most)]
        typing.seconds.append(time.perf_counter() - begin)
        rank = found.index(wanted) + 1 if wanted in found else 0
        if typed == 0:
            typing.ranks.append(rank)
        for slots in sorted(open_slots):
            if 1 <= rank <= slots:
                typing.keys[slots] += typed + 1
                open_slots.discard(slots)
        if not open_slots:
            break
    for slots in open_slots:
        typing.keys[slots] += len(word) + 1
    typing.letters += len(word)
