"""The layers of a network, each with its forward and its backward pass written out.

A layer is made for a fixed window of T time steps and B sequences and owns the buffers for
it; results are views into these, valid until the next call.
"""

from charrnn.layers.dropout import Dropout
from charrnn.layers.embedding import Embedding
from charrnn.layers.head import MAX_LOGITS, Head, cross_entropy
from charrnn.layers.scan import Scan
from charrnn.layers.stack import Stack, States, copy_states

__all__ = [
    "MAX_LOGITS",
    "Dropout",
    "Embedding",
    "Head",
    "Scan",
    "Stack",
    "States",
    "copy_states",
    "cross_entropy",
]
