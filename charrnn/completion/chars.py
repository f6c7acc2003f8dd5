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
    recent,
    shouted,
    softmax,
)
from charrnn.layers import States
from charrnn.reading import Reader
from charrnn.text import UNKNOWN, CharVocabulary
from charrnn.text.tokens import APOSTROPHES

Floats = np.ndarray[Any, np.dtype[np.float64]]

_BATCH = 32  # beginnings that are read at once: several times cheaper each than one alone
_FEW = 8  # rows for what does not fill that
_MAX_NODES = 20_000  # beginnings that are read; only a model that knows nothing needs as many
_MAX_LENGTH = 64  # characters of a word

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Alphabet:
    """The characters of a vocabulary by what they are to a word; masks are [V]."""

    def __init__(self, vocabulary: CharVocabulary) -> None:
        self.symbols = ["", *vocabulary.symbols]
        self.ids = {s: n for n, s in enumerate(self.symbols) if n != UNKNOWN}
        self.letters = np.array([s != "" and is_word_character(s) for s in self.symbols])
        self.small = self.letters & np.array([s == s.lower() for s in self.symbols])
        self.capitals = self.letters & np.array([s == s.upper() for s in self.symbols])
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

    ``found`` maps (lead, word) to the probability that is known of it, and ``groups`` the form that
    stands for all that differ in case to that of these. ``lead`` is what stands before a word:
    nothing or a space.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        reader: Reader,
        context: list[int],
        typed: str = "",
        letters: Mask | None = None,
    ) -> None:
        """``typed`` is what the context has of a word, and ``letters`` what this may go on with.

        Words without a ``lead`` are the rest of it.
        """
        self.alphabet, self.reader, self.typed = alphabet, reader, typed
        self.letters = alphabet.letters if letters is None else letters
        self.found: dict[tuple[str, str], float] = defaultdict(float)
        self.groups: dict[tuple[str, str], float] = defaultdict(float)
        self.total = 0.0
        self._size = 0
        self._heap: list[tuple[float, int, Node, int]] = []
        self._count = itertools.count()
        self._roots: dict[str, Node] = {}
        reading = reader.read(context)
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
        while self._heap and self._size < _MAX_NODES and self._nth(n) < self._missing:
            self._grow()
        nth, missing = self._nth(n), self._missing
        least = nth - missing if nth >= missing else nth
        self._complete([group for group, p in self.groups.items() if p >= least])
        return [(*self._likeliest(group), self.groups[group]) for group in self._first(n)]

    def likely(self, n: int) -> list[str]:
        """About the n likeliest words: ``best`` without proof, several times quicker."""
        while self._heap and self._size < 20 * n and self._nth(n) < -self._heap[0][0]:
            self._grow()
        return [self._likeliest(group)[1] for group in self._first(n)]

    def _nth(self, n: int) -> float:
        """The n-th largest probability of a group, 0 where there are fewer."""
        return heapq.nlargest(n, self.groups.values())[-1] if len(self.groups) >= n else 0.0

    def _first(self, n: int) -> list[tuple[str, str]]:
        return sorted(self.groups, key=lambda group: (-self.groups[group], group))[:n]

    @property
    def _missing(self) -> float:
        """The most that is not known yet of any word, be it found or not.

        Of each of its forms, all; or what ends it with an apostrophe, of any kind.
        """
        if not self._heap:
            return 0.0
        ways = max(1, int(self.alphabet.apostrophes.sum()))
        forms = max(len(self._forms((lead, "ab"))) for lead in self._roots)
        return -self._heap[0][0] * ways * forms

    def _group(self, lead: str, word: str) -> tuple[str, str]:
        """The form that stands for all that differ in case."""
        small = word.lower()
        return (lead, small) if word in self._forms((lead, small)) else (lead, word)

    def _forms(self, group: tuple[str, str]) -> set[str]:
        lead, word = group
        if (self.typed and not lead) or word != word.lower():
            return {word}
        forms = {word, word[:1].upper() + word[1:], word.upper()}
        return {form for form in forms if form.lower() == word}  # "SS" is none of "ß"

    def _likeliest(self, group: tuple[str, str]) -> tuple[str, str]:
        """The lead and the likeliest form."""
        forms = [(group[0], form) for form in self._forms(group)]
        return max(forms, key=lambda form: (self.found.get(form, 0.0), form))

    def _open(self, root: Node) -> float:
        """Offer what a root goes on with; gives the probability of all of it."""
        assert root.follows is not None
        typed = "" if root.lead else self.typed
        allowed = self.letters if typed else self.alphabet.letters
        if typed[-1:] not in ("", *APOSTROPHES):
            allowed = allowed | self.alphabet.apostrophes
        p = np.where(allowed, root.follows, 0.0)
        root.order = np.argsort(-p, kind="stable")[: np.count_nonzero(p)].tolist()
        self._offer(root, 0)
        return root.p * float(p.sum())

    def _offer(self, node: Node, rank: int) -> None:
        """The likeliest child is offered first, and the next when that one is taken."""
        if rank < len(node.order) and len(node.text) < _MAX_LENGTH:
            assert node.follows is not None
            p = node.p * float(node.follows[node.order[rank]])
            heapq.heappush(self._heap, (-p, next(self._count), node, rank))

    def _grow(self) -> None:
        """Read the likeliest beginnings that are left."""
        taken: list[Node] = []
        while self._heap and len(taken) < _BATCH:
            _, _, parent, rank = heapq.heappop(self._heap)
            self._offer(parent, rank + 1)
            taken.append(self._child(parent, parent.order[rank]))
        self._read([node for node in taken if node.follows is None])
        for node in taken:
            self._offer(node, 0)

    def _child(self, parent: Node, symbol: int) -> Node:
        if symbol not in parent.children:
            assert parent.follows is not None
            p = parent.p * float(parent.follows[symbol])
            text = parent.text + self.alphabet.symbols[symbol]
            node = Node(parent.lead, text, p, symbol, parent.block, parent.row)
            parent.children[symbol] = node
        return parent.children[symbol]

    def _read(self, nodes: list[Node]) -> None:
        """Run the model over at most ``_BATCH`` nodes, and count the words that end with them."""
        if not nodes:
            return
        self._size += len(nodes)
        rows = _FEW if len(nodes) <= _FEW else _BATCH
        window = self.reader.window(1, rows)
        padded = nodes + nodes[:1] * (rows - len(nodes))
        stack = window.backend.xp.stack
        window.states = [
            [stack([node.block[scan][k][node.row] for node in padded]) for k in range(len(states))]
            for scan, states in enumerate(nodes[0].block)
        ]
        symbols = np.array([[node.symbol for node in padded]], np.int32)
        follows = softmax(window.backend.to_host(window.logits(symbols)))
        block = window.states
        # All at once: node by node, this would take as long as the model does.
        follows, alphabet = follows[: len(nodes)], self.alphabet
        rest = np.array([bool(self.typed) and not node.lead for node in nodes])[:, None]
        quoted = np.array([node.text[-1:] in APOSTROPHES for node in nodes])[:, None]
        goes_on = np.where(rest, self.letters, alphabet.letters) | (alphabet.apostrophes & ~quoted)
        offered = np.where(goes_on, follows, 0.0)
        orders = np.argsort(-offered, axis=1, kind="stable")
        counts = np.count_nonzero(offered, axis=1)
        # An apostrophe ends a word where no letter comes behind it.
        ends = np.where(alphabet.ends | (alphabet.apostrophes & quoted), follows, 0.0).sum(axis=1)
        for row, node in enumerate(nodes):
            node.follows, node.block, node.row = follows[row], block, row
            node.order = orders[row, : counts[row]].tolist()
            word = node.text[:-1] if quoted[row, 0] else node.text
            if word:
                p = node.p * float(ends[row])
                self.found[node.lead, word] += p
                self.groups[self._group(node.lead, word)] += p

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
            while batch := list(itertools.islice(unread, _BATCH)):
                self._read(batch)


class CharCompleter:
    """Ranks words by their probability as characters, whichever way the text is read."""

    def __init__(self, reader: Reader, vocabulary: CharVocabulary) -> None:
        self.reader, self.vocabulary = reader, vocabulary
        self.alphabet = Alphabet(vocabulary)

    def search(self, context: list[int], typed: str = "", letters: Mask | None = None) -> Search:
        """See ``Search``."""
        return Search(self.alphabet, self.reader, context, typed, letters)

    def context(self, text: str) -> list[int]:
        """The ids of a text, as if after a line break."""
        return [self.vocabulary.start, *self.vocabulary.encode(recent(text, MAX_CONTEXT)).tolist()]

    def begun(self, prefix: str) -> tuple[str, Mask]:
        """How the beginning of a word is read, and the letters that it may go on with.

        Few words are known in capitals: it is read in small letters where these are.
        """
        if not shouted(prefix):
            return prefix, self.alphabet.letters
        small = prefix.lower()
        if len(small) == len(prefix) and (self.vocabulary.encode(small) != UNKNOWN).all():
            return small, self.alphabet.small
        return prefix, self.alphabet.capitals

    def complete(self, request: Request, n: int) -> tuple[list[Suggestion], float]:
        """The n likeliest words, and a bound on the probability of all others."""
        tail = request.tail
        typed, letters = self.begun(tail)
        search = self.search(self.context(request.head + typed), typed, letters)
        for lead, wanted in (("", request.partial), (" ", request.whole)):
            if wanted:
                search.begin(lead)
        suggestions = []
        for lead, word, p in search.best(n):
            prefix = "" if lead else tail
            rest = in_case_of(word, prefix)
            suggestions.append(Suggestion(prefix + rest, lead + rest, p / search.total))
        return suggestions, max(0.0, 1 - sum(s.p for s in suggestions))
