"""charrnn import: a checkpoint of weights that were trained elsewhere."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.console import write


def import_(
    weights: Annotated[
        Path, typer.Argument(help="Safetensors file of a PyTorch module.", metavar="WEIGHTS")
    ],
    description: Annotated[
        Path, typer.Argument(help="What they mean: model and vocabulary.", metavar="JSON")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The checkpoint to be made.", metavar="FILE")
    ],
) -> None:
    """Make a checkpoint of weights from PyTorch, such as charrnn info --export writes.

    The weights are those of a module with encoder (Embedding), rnn (LSTM, GRU or RNN) and decoder
    (Linear). The JSON is {"model": {"cell": "lstm", "layers": 2, ...}, "tokenizer": "char",
    "vocabulary": [...]}: the symbols of the ids 1 and up, as a list or, of characters, one string.
    Id 0 is the unknown symbol; encoder and decoder have a row for it.
    """
    from charrnn.checkpoint import save
    from charrnn.errors import OutputError
    from charrnn.exchange import read

    if output.exists():
        raise OutputError("file exists already", output, "give the checkpoint another name")
    checkpoint = read(weights, description)
    checkpoint.origin["command"] = shlex.join(["charrnn", *sys.argv[1:]])[:4096]
    save(checkpoint, output)
    write(f"{output}\n")
