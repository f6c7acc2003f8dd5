"""Completing what a person types: the next word, the rest of one, or a blank."""

from charrnn.completion.completer import Completer
from charrnn.completion.request import Completion, Suggestion

__all__ = ["Completer", "Completion", "Suggestion"]
