"""Recurrent language models: train on a text, generate from it, score it.

import charrnn

for event in charrnn.train(["novel.txt"], minutes=5):
    print(event)
model = charrnn.load("checkpoints/novel")
print(model.sample("Once upon a time", length=200, temperature=0.7, seed=1))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import CharrnnError

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.events import Event

__all__ = ["CharrnnError", "__version__", "load", "train"]
__version__ = "0.1.0"

# The imports inside keep `import charrnn` and `charrnn --help` quick.


def load(path: str | Path | None = None, device: str = "auto") -> LanguageModel:
    """The model of a run folder or checkpoint file; None: of the newest run.

    Raises ``CharrnnError``: no such file, damaged file, device not there.
    """
    from charrnn.api import LanguageModel

    return LanguageModel.load(path, device)


def train(
    corpus: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    resume: bool = False,
    init_from: str | Path | None = None,
    valid: str | Path | None = None,
    sample_length: int = 0,
    device: str = "auto",
    threads: int | None = None,
    **options: Any,
) -> Iterator[Event]:
    """Train as ``charrnn train`` does, into the run folder ``output``; yields the events.

    Nothing happens until the first event is asked for; the work is done in between. ``resume``
    goes on with the run in ``output``; see ``charrnn.training.train``. ``options``
    are the fields of ``charrnn.recipe.Options``, such as ``cell="gru"`` or ``minutes=5``.
    Raises ``CharrnnError``.
    """
    from charrnn.recipe import Options
    from charrnn.training import train as train_events

    return train_events(
        [corpus] if isinstance(corpus, str | Path) else corpus,
        None if output is None else Path(output),
        Options(**options),
        resume=resume,
        init_from=None if init_from is None else Path(init_from),
        valid=None if valid is None else Path(valid),
        sample_length=sample_length,
        device=device,
        threads=threads,
        command="charrnn.train(...)",
    )
