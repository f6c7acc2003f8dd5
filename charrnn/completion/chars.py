"""Completing with a model of characters: an exact search for the likeliest words.

The probability of a word is the product of those of its characters, times that of anything that
ends it: a space, punctuation, a line break. No word is likelier than what it begins with; so the
search goes on with the likeliest beginning, and ends when none that is left could make a
difference.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from typing import Any

import numpy as np

from charrnn.completion.request import (
    MAX_CONTEXT,
    Request,
    Suggestion,
    in_case_of,
    is_word_character,
    softmax,
)
from charrnn.layers import States
from charrnn.model import Window
from charrnn.reading import Reader, Reading
from charrnn.text import UNKNOWN, CharVocabulary
from charrnn.text.tokens import APOSTROPHES

Floats = np.ndarray[Any, np.dtype[np.float64]]

#: Beginnings that are read at once: eight times cheaper each than one alone.
BATCH = 64

_MAX_NODES = 20_000  # beginnings that are read; only a model that knows nothing needs as many
_MAX_LENGTH = 64  # characters of a word


class Alphabet:
    """The characters of a vocabulary by what they are to a word; masks are [V]."""

    def __init__(self, vocabulary: CharVocabulary) -> None:
        self.symbols = ["", *vocabulary.symbols]
        self.ids = {s: n for n, s in enumerate(self.symbols) if n != UNKNOWN}
        self.letters = np.array([s != "" and is_word_character(s) for s in self.symbols])
        self.apostrophes = np.array([s != "" and s in APOSTROPHES for s in self.symbols])
        self.ends = ~self.letters & ~self.apostrophes
        self.ends[UNKNOWN] = False


class Node:
    """A beginning of a word, ``text``, and its probability ``p``.

    Once it is read, ``follows`` [V] are the probabilities of what comes next, and the states those
    in ``row`` of ``block``; until then these are its parent's.
    """

    __slots__ = ("block", "children", "follows", "lead", "order", "p", "row", "symbol", "text")

    def __init__(
        self, lead: str, text: str, p: float, symbol: int, block: States, row: int
    ) -> None:
        self.lead, self.text, self.p, self.symbol = lead, text, p, symbol
        self.block, self.row = block, row
        self.follows: Floats | None = None
        self.order: list[int] = []
        """Symbols that it may go on with, likeliest first."""
        self.children: dict[int, Node] = {}


class Search:
    """The tree of beginnings after one context; it grows where it has to.

    ``found`` maps (lead, word) to the probability that is known of it. ``lead`` is what stands
    before a word: nothing or a space.
    """

    def __init__(
        self, alphabet: Alphabet, window: Window, reading: Reading, *, within: bool
    ) -> None:
        """``within``: the context ends within a word, that words without a ``lead`` complete."""
        self.alphabet, self.window, self.within = alphabet, window, within
        self.found: dict[tuple[str, str], float] = defaultdict(float)
        self.total = 0.0
        self._size = 0
        self._heap: list[tuple[float, int, Node, int]] = []
        self._count = itertools.count()
        self._roots: dict[str, Node] = {}
        self._base = Node("", "", 1.0, UNKNOWN, reading.states, 0)
        self._base.follows = softmax(reading.logits[0])

    def begin(self, lead: str) -> None:
        """Look for words after ``lead``; their probability together is added to ``total``."""
        root = self._base
        if lead:
            if lead not in self.alphabet.ids:
                return
            assert root.follows is not None
            space = self.alphabet.ids[lead]
            root = Node(lead, "", float(root.follows[space]), space, root.block, root.row)
            self._read([root])
        self._roots[lead] = root
        self.total += self._open(root)

    def best(self, n: int) -> list[tuple[str, str, float]]:
        """The n likeliest words, best first: lead, word, probability.

        A word in small letters, with a capital and in capitals is one, as far as its case is open;
        it comes in the likeliest.
        """
        while self._heap and self._size < _MAX_NODES:
            if _nth(self._groups(), n) >= self._missing:
                break
            self._grow()
        groups = self._groups()
        least = _nth(groups, n) - self._missing
        self._complete([group for group, p in groups.items() if p >= least])
        groups = self._groups()
        ranked = sorted(groups, key=lambda group: (-groups[group], group))[:n]
        return [(g[0], max(self._forms(g), key=lambda f: self.found[g[0], f]), groups[g])
                for g in ranked]  # fmt: skip

    @property
    def _missing(self) -> float:
        """The most that is not known yet of any word, be it found or not.

        Each of its forms may end in each way: at once, or with an apostrophe that is not in it.
        """
        if not self._heap:
            return 0.0
        ways = 1 + int(self.alphabet.apostrophes.sum())
        return (
            -self._heap[0][0] * ways * max(len(self._forms((lead, "ab"))) for lead in self._roots)
        )

    def _group(self, lead: str, word: str) -> tuple[str, str]:
        """The form that stands for all that differ in case."""
        small = word.lower()
        return (lead, small) if word in self._forms((lead, small)) else (lead, word)

    def _forms(self, group: tuple[str, str]) -> set[str]:
        lead, word = group
        if (self.within and not lead) or word != word.lower():
            return {word}
        return {word, word[:1].upper() + word[1:], word.upper()}

    def _groups(self) -> dict[tuple[str, str], float]:
        groups: dict[tuple[str, str], float] = defaultdict(float)
        for (lead, word), p in self.found.items():
            groups[self._group(lead, word)] += p
        return groups

    def _open(self, node: Node) -> float:
        """Offer what a node goes on with; gives the probability of all of it."""
        assert node.follows is not None
        allowed = self.alphabet.letters
        if node.text[-1:] not in APOSTROPHES or (not node.text and self.within and not node.lead):
            allowed = allowed | self.alphabet.apostrophes
        p = np.where(allowed, node.follows, 0.0)
        node.order = [int(n) for n in np.argsort(-p, kind="stable") if p[n] > 0]
        self._offer(node, 0)
        return node.p * float(p.sum())

    def _offer(self, node: Node, rank: int) -> None:
        """The likeliest child is offered first, and the next when that one is taken."""
        if rank < len(node.order) and len(node.text) < _MAX_LENGTH:
            assert node.follows is not None
            p = node.p * float(node.follows[node.order[rank]])
            heapq.heappush(self._heap, (-p, next(self._count), node, rank))

    def _grow(self) -> None:
        """Read the likeliest beginnings that are left."""
        taken: list[Node] = []
        while self._heap and len(taken) < BATCH:
            _, _, parent, rank = heapq.heappop(self._heap)
            self._offer(parent, rank + 1)
            taken.append(self._child(parent, parent.order[rank]))
        self._read([node for node in taken if node.follows is None])
        for node in taken:
            self._open(node)

    def _child(self, parent: Node, symbol: int) -> Node:
        if symbol not in parent.children:
            assert parent.follows is not None
            p = parent.p * float(parent.follows[symbol])
            text = parent.text + self.alphabet.symbols[symbol]
            node = Node(parent.lead, text, p, symbol, parent.block, parent.row)
            parent.children[symbol] = node
        return parent.children[symbol]

    def _read(self, nodes: list[Node]) -> None:
        """Run the model over at most ``BATCH`` nodes, and count the words that end with them."""
        if not nodes:
            return
        self._size += len(nodes)
        padded = nodes + nodes[:1] * (BATCH - len(nodes))
        stack = self.window.backend.xp.stack
        self.window.states = [
            [stack([node.block[scan][k][node.row] for node in padded]) for k in range(len(states))]
            for scan, states in enumerate(nodes[0].block)
        ]
        symbols = np.array([[node.symbol for node in padded]], np.int32)
        follows = softmax(self.window.backend.to_host(self.window.logits(symbols)))
        block = self.window.states
        for row, node in enumerate(nodes):
            node.follows, node.block, node.row = follows[row], block, row
            self._end(node, follows[row])

    def _end(self, node: Node, follows: Floats) -> None:
        """An apostrophe ends a word where no letter comes behind it."""
        word, ends = node.text, self.alphabet.ends
        if word[-1:] in APOSTROPHES:
            word, ends = word[:-1], ends | self.alphabet.apostrophes
        if word:
            self.found[node.lead, word] += node.p * float(follows[ends].sum())

    def _complete(self, groups: list[tuple[str, str]]) -> None:
        """Read all that ends one of these words, in any form."""
        paths = [
            (self._roots[lead], form + end)
            for lead, word in groups
            for form in self._forms((lead, word))
            for end in ("", *APOSTROPHES)
            if all(c in self.alphabet.ids for c in form + end)
        ]
        for depth in range(max((len(text) for _, text in paths), default=0)):
            reached = {}
            for n, (node, text) in enumerate(paths):
                if depth < len(text):
                    child = self._child(node, self.alphabet.ids[text[depth]])
                    paths[n] = child, text
                    if child.follows is None:
                        reached[id(child)] = child
            unread = iter(reached.values())
            while batch := list(itertools.islice(unread, BATCH)):
                self._read(batch)


def _nth(groups: dict[tuple[str, str], float], n: int) -> float:
    """The n-th largest probability, 0 where there are fewer."""
    return heapq.nlargest(n, groups.values())[-1] if len(groups) >= n else 0.0


class CharCompleter:
    """Ranks words by their probability as characters, whichever way the text is read."""

    def __init__(self, reader: Reader, vocabulary: CharVocabulary) -> None:
        self.reader, self.vocabulary = reader, vocabulary
        self.alphabet = Alphabet(vocabulary)

    def search(self, context: list[int], *, within: bool = False) -> Search:
        """For words after a context."""
        window = self.reader.window(1, BATCH)
        return Search(self.alphabet, window, self.reader.read(context), within=within)

    def context(self, text: str) -> list[int]:
        """The ids of a text, as if after a line break."""
        ids = self.vocabulary.encode(text[-MAX_CONTEXT:])
        return [self.vocabulary.start, *map(int, ids)]

    def complete(self, request: Request, n: int) -> tuple[list[Suggestion], float]:
        """The n likeliest words, and a bound on the probability of all others."""
        tail = request.tail
        search = self.search(self.context(request.head + tail), within=bool(tail))
        for lead, wanted in (("", request.partial), (" ", request.whole)):
            if wanted:
                search.begin(lead)
        suggestions = []
        for lead, word, p in search.best(n):
            prefix = "" if lead else tail
            rest = in_case_of(word, prefix)
            suggestions.append(Suggestion(prefix + rest, lead + rest, p / search.total))
        return suggestions, max(0.0, 1 - sum(s.p for s in suggestions))
