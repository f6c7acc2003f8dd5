"""Completing what a person types: the next word, the rest of one, or a blank."""

from charrnn.completion.completer import Completer
from charrnn.completion.request import MODES, Completion, Suggestion

__all__ = ["MODES", "Completer", "Completion", "Suggestion"]
