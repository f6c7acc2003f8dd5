"""Completing with a model of characters: how a request is read, and its answer."""

from __future__ import annotations

from charrnn.completion.request import MAX_CONTEXT, Request, Suggestion, in_case_of, recent, shouted
from charrnn.completion.search import Alphabet, Mask, Search
from charrnn.reading import Reader
from charrnn.text import UNKNOWN, CharVocabulary


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

    def unknown(self, request: Request) -> list[str]:
        """The characters of what is read that the model does not know."""
        read = recent(request.head + request.tail, MAX_CONTEXT)
        return self.vocabulary.unknown_symbols(read)

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
