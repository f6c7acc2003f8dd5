"""An exact search for the likeliest words of a model of characters.

The probability of a word is the product of those of its characters, times that of anything that
ends it: a space, punctuation, a line break. No word is likelier than what it begins with; so the
search goes on with the likeliest beginning, and ends when none that is left could make a
difference. A word in small letters, with a capital and in capitals counts as one, and each of these
forms is looked for by itself: few texts go on in capitals, which tells soon how little those add.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from typing import Any

import numpy as np

from charrnn.completion.request import Floats, is_word_character, softmax
from charrnn.layers import States
from charrnn.reading import Reader
from charrnn.text import UNKNOWN, CharVocabulary
from charrnn.text.tokens import APOSTROPHES

_BATCH = 32  # beginnings that are read at once: several times cheaper each than one alone
_FEW = 8  # rows for what does not fill that
_MAX_NODES = 20_000  # beginnings that are read; only a model that knows nothing needs as many
_MAX_LENGTH = 64  # characters of a word

# The forms of a word that a beginning may be of, as bits.
_SMALL, _CAPITAL, _CAPITALS = _FORMS = (1, 2, 4)

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Alphabet:
    """The characters of a vocabulary by what they are to a word; masks are [V].

    ``first`` and ``later`` are the forms that a character may be of at the beginning of a word and
    behind that.
    """

    def __init__(self, vocabulary: CharVocabulary) -> None:
        self.symbols = ["", *vocabulary.symbols]
        self.ids = {s: n for n, s in enumerate(self.symbols) if n != UNKNOWN}
        self.endings = ["", *(a for a in APOSTROPHES if a in self.ids)]
        """What may end a word, before something that is none of it."""
        self.letters = np.array([s != "" and is_word_character(s) for s in self.symbols])
        self.small = self.letters & np.array([s == s.lower() for s in self.symbols])
        self.capitals = self.letters & np.array([s == s.upper() for s in self.symbols])
        self.apostrophes = np.array([s != "" and s in APOSTROPHES for s in self.symbols])
        self.ends = ~self.letters & ~self.apostrophes
        self.ends[UNKNOWN] = False
        lower = [s == s.lower() for s in self.symbols]
        upper = [s == s.upper() for s in self.symbols]
        cases = list(zip(lower, upper, strict=True))
        self.first = [small * _SMALL | large * (_CAPITAL | _CAPITALS) for small, large in cases]
        self.later = [small * (_SMALL | _CAPITAL) | large * _CAPITALS for small, large in cases]


class Node:
    """A beginning of a word, ``text``, its probability ``p`` and the ``forms`` it may be of.

    Once it is read, ``follows`` [V] are the probabilities of what comes next, and the states those
    in ``row`` of ``block``; until then these are its parent's.
    """

    __slots__ = (
        "block", "children", "follows", "forms", "lead", "order", "p", "row", "symbol", "text"
    )  # fmt: skip

    def __init__(
        self, lead: str, text: str, p: float, forms: int, symbol: int, block: States, row: int
    ) -> None:
        self.lead, self.text, self.p, self.forms = lead, text, p, forms
        self.symbol, self.block, self.row = symbol, block, row
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
        self._heap: list[tuple[float, int, Node, int, list[int], int]] = []
        """Of what may be read next: -p, a number, the parent, forms, order of symbols, rank."""
        self._count = itertools.count()
        self._roots: dict[str, Node] = {}
        reading = reader.read(context)
        # Of a word that was begun, the case is settled: each is a form of itself.
        self._base = Node("", "", 1.0, 0 if typed else sum(_FORMS), UNKNOWN, reading.states, 0)
        self._base.follows = softmax(reading.logits[0])

    def begin(self, lead: str) -> None:
        """Look for words after ``lead``; their probability together is added to ``total``."""
        root = self._base
        if lead:
            if lead not in self.alphabet.ids:
                return
            assert root.follows is not None
            space = self.alphabet.ids[lead]
            p = float(root.follows[space])
            root = Node(lead, "", p, sum(_FORMS), space, root.block, root.row)
            self._read([root])
        self._roots[lead] = root
        self.total += self._open(root)

    def best(self, n: int) -> list[tuple[str, str, float]]:
        """The n likeliest words, best first: lead, word, probability.

        A word in small letters, with a capital and in capitals is one, as far as its case is open;
        it comes in the likeliest. What is left out of a probability is less than its rounding.
        """
        while self._heap and self._size < _MAX_NODES and self._nth(n) < self._unseen:
            self._grow()
        nth, most = self._nth(n), self._most
        near = [group for group, p in self.groups.items() if p + most >= nth]
        rest = {group: sum(node.p for node in self._unread(group)) for group in near}
        self._complete([group for group in near if self.groups[group] + rest[group] >= nth])
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
    def _unseen(self) -> float:
        """The most that a word can have of which no form was found: all of each."""
        if not self._heap:
            return 0.0
        likeliest = (max((-entry[0] for entry in self._heap if entry[3] & form), default=0.0)
                     for form in _FORMS)  # fmt: skip
        return max(-self._heap[0][0], sum(likeliest))

    @property
    def _most(self) -> float:
        """The most that may be missing of a word of which a form was found: a way to its end."""
        ways = len(_FORMS) * len(self.alphabet.endings)
        return -self._heap[0][0] * ways if self._heap else 0.0

    def _unread(self, group: tuple[str, str]) -> list[Node]:
        """The first beginnings that were not read on the ways to the ends of all forms."""
        lead, _ = group
        found: dict[Node, None] = {}
        for form, end in itertools.product(self._forms(group), self.alphabet.endings):
            node = self._roots[lead]
            symbols = [self.alphabet.ids.get(c, UNKNOWN) for c in form + end]
            for symbol in symbols if UNKNOWN not in symbols else ():
                node = self._child(node, symbol)
                if node.follows is None:
                    found[node] = None
                    break
        return list(found)

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
        self._offer_all(root)
        return root.p * float(p.sum())

    def _offer_all(self, node: Node) -> None:
        """What a beginning may go on with, by the forms of which that may be."""
        if len(node.text) >= _MAX_LENGTH:
            return
        orders = {node.forms: node.order}
        if node.forms not in (0, *_FORMS):
            orders = defaultdict(list)
            for symbol in node.order:
                orders[self._forms_after(node, symbol)].append(symbol)
        for forms, order in orders.items():
            self._offer(node, forms, order, 0)

    def _offer(self, node: Node, forms: int, order: list[int], rank: int) -> None:
        """The likeliest child is offered first, and the next when that one is taken."""
        if rank < len(order):
            assert node.follows is not None
            p = node.p * float(node.follows[order[rank]])
            heapq.heappush(self._heap, (-p, next(self._count), node, forms, order, rank))

    def _grow(self) -> None:
        """Read the likeliest beginnings that are left."""
        taken: list[Node] = []
        while self._heap and len(taken) < _BATCH:
            _, _, parent, forms, order, rank = heapq.heappop(self._heap)
            self._offer(parent, forms, order, rank + 1)
            taken.append(self._child(parent, order[rank]))
        self._read([node for node in taken if node.follows is None])
        for node in taken:
            self._offer_all(node)

    def _child(self, parent: Node, symbol: int) -> Node:
        if symbol not in parent.children:
            assert parent.follows is not None
            p = parent.p * float(parent.follows[symbol])
            text = parent.text + self.alphabet.symbols[symbol]
            forms = self._forms_after(parent, symbol)
            node = Node(parent.lead, text, p, forms, symbol, parent.block, parent.row)
            parent.children[symbol] = node
        return parent.children[symbol]

    def _forms_after(self, node: Node, symbol: int) -> int:
        """The forms of which a beginning may be once it has gone on with a symbol."""
        alphabet = self.alphabet
        return node.forms & (alphabet.later if node.text else alphabet.first)[symbol]

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
        # Behind another, and where no word has begun, an apostrophe is none of a word.
        quoted = np.array([not n.text or n.text[-1] in APOSTROPHES for n in nodes])[:, None]
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
        """Read all that ends one of these words, in any form, but for what would be rounded off."""
        least = float(np.finfo(self.reader.model.backend.dtype).eps)
        # Words may begin alike: each beginning is read once.
        while unread := list({node: None for group in groups for node in self._unread(group)
                              if node.p > least * self.groups[group]}):  # fmt: skip
            for at in range(0, len(unread), _BATCH):
                self._read(unread[at : at + _BATCH])
