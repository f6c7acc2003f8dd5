"""Training, from files and options to the events of a run.

It reads the corpus, fills in options that were not given, checks that the run fits into memory,
and trains; checkpoints and the log go to the run folder. Nothing is printed here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from threadpoolctl import threadpool_limits

from charrnn.backend import select_backend
from charrnn.beginnings import Beginning, FineTuned, Resumed
from charrnn.checkpoint import Checkpoint
from charrnn.errors import UsageError
from charrnn.events import Event, Requests
from charrnn.loop import Run
from charrnn.recipe import Options, resolve
from charrnn.runs import RunFolder, load_model
from charrnn.text.corpus import STDIN
from charrnn.text.dataset import Dataset
from charrnn.text.store import StoredCharacters, StoredText

_MAX_THREADS = 4096


def train(
    corpus: Sequence[str | Path],
    output: Path | None = None,
    options: Options | None = None,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    valid: Path | None = None,
    sample_length: int = 0,
    device: str = "auto",
    threads: int | None = None,
    announce: Callable[[str], None] = lambda message: None,
    command: str = "",
    requests: Requests | None = None,
) -> Iterator[Event]:
    """Train on the texts of ``corpus`` into the run folder ``output`` (None: a new one).

    Nothing happens until the first event is asked for; the work is done in between.

    ``resume``: go on with the run that is in it, on the same texts, from its last checkpoint;
    from the beginning where it has none. ``init_from``: start from the weights of this model.
    ``valid``: validate on this file instead of the end of the corpus. ``sample_length``: draw
    so many symbols after each validation. ``threads`` of the CPU, by default one for each
    processor, or as many as the run had there; results depend on their number, by rounding and by
    the draws of dropout. ``announce`` is told when kernels have to be compiled, which takes a
    second, and when a damaged checkpoint is passed over. ``command`` is kept as provenance.
    ``requests`` may be changed while it runs. Raises the errors of reading, of the configuration
    and of writing, ``LockedError`` where another process is at the run, and ``DivergedError``.
    """
    if threads is not None and not 1 <= threads <= _MAX_THREADS:
        raise UsageError("invalid value", f"--threads {threads}", "must be from 1 to 4096")
    if sample_length < 0:
        raise UsageError("invalid value", f"--show-sample {sample_length}", "must not be negative")
    if resume and output is None:
        raise UsageError("--resume without a run", remedy="name its folder with -o")
    options = options or Options()
    with contextlib.ExitStack() as stack:
        folder = None
        if resume and output:
            folder = stack.enter_context(contextlib.closing(RunFolder(output, resume=True)))
        saved = folder.latest(announce) if folder else None
        beginning: Beginning
        if saved:
            beginning = Resumed(options, saved)
            threads = threads or _threads(saved)
            if init_from:
                announce("--init-from has no effect: the run goes on from its own checkpoint")
        elif init_from:
            beginning = FineTuned(options, load_model(init_from, announce)[1])
        else:
            beginning = Beginning(options)
        settled = beginning.options
        assert settled.valid_fraction is not None and settled.precision is not None
        backend, note = select_backend(device, threads, announce, settled.precision)
        storage = _storage(settled, beginning.tokenizer)
        data = Dataset.read(corpus, valid, settled.valid_fraction, storage, beginning.vocabulary)
        beginning.check(data.document)
        resolved = resolve(settled, len(data.train), len(data.vocabulary))
        if folder and not saved:
            beginning.check_again(resolved.options, folder.log.first())
            announce("there is no checkpoint yet: the run begins again")
        stack.enter_context(threadpool_limits(threads, user_api="blas"))
        run = Run(backend, data, resolved, beginning, sample_length, command, requests)
        if folder is None:
            folder = RunFolder(output) if output else RunFolder.named_after(_name(str(corpus[0])))
            stack.enter_context(contextlib.closing(folder))
        for event in run.events(folder, (*data.notes, *run.notes, *([note] if note else []))):
            folder.log.add({"event": type(event).__name__.lower(), **asdict(event)})
            yield event


def _threads(checkpoint: Checkpoint) -> int | None:
    """As many as a run had, if it was on the CPU."""
    threads = checkpoint.origin.get("threads")
    known = type(threads) is int and 1 <= threads <= _MAX_THREADS
    return threads if known and checkpoint.origin.get("device") == "cpu" else None


def _storage(options: Options, tokenizer: str | None) -> StoredText:
    """Where the text goes, cut into the symbols of its level."""
    if options.level == "char":
        return StoredCharacters()
    from charrnn.text.tokens import PRETOKENIZED, TOKENIZERS, WORDS
    from charrnn.text.words import StoredWords

    asked = {None: None, True: PRETOKENIZED, False: WORDS}[options.pretokenized]
    if tokenizer is not None:
        if asked is not None and asked.name != tokenizer:
            raise UsageError("option that is the model's", "--pretokenized", f"it has {tokenizer}")
        asked = TOKENIZERS[tokenizer]
    return StoredWords(asked, options.vocab_size, options.min_count)


def _name(source: str) -> str:
    """What to call the run on a file, a folder or stdin."""
    return "stdin" if source == STDIN else Path(source).resolve().name.split(".")[0]
