"""charrnn train: the options, and the events of a run drawn as they come."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.console import DeviceOption, say, shell_word
from charrnn.errors import InputOutputError, OutputError

_AUTO = "[default: from the text]"


def train(
    corpus: Annotated[
        list[str],
        typer.Argument(help="Text files, folders of them, .gz, or - for stdin.", metavar="CORPUS"),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Run folder. [default: checkpoints/NAME]"),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(help="What a symbol is: char or word. [default: char]", metavar="LEVEL"),
    ] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option(help="Most words that are known, of --level word. [default: 50000]"),
    ] = None,
    min_count: Annotated[
        int | None,
        typer.Option(help="How often a word must occur to be known. [default: 2]"),
    ] = None,
    pretokenized: Annotated[
        bool | None,
        typer.Option(
            "--pretokenized/--no-pretokenized",
            help="Words are what stands between spaces. [default: if the text has <unk>]",
        ),
    ] = None,
    cell: Annotated[
        str | None, typer.Option(help="lstm, gru or rnn. [default: lstm]", metavar="CELL")
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            help="Activation of --cell rnn: tanh, relu or sigmoid. [default: tanh]", metavar="NAME"
        ),
    ] = None,
    layers: Annotated[int | None, typer.Option(help=f"Recurrent layers. {_AUTO}")] = None,
    hidden: Annotated[int | None, typer.Option(help=f"Hidden size of a layer. {_AUTO}")] = None,
    embed: Annotated[
        int | None, typer.Option(help="Embedding size. [default: the hidden size]")
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            help=f"Between layers and before the decoder; half of it on embeddings. {_AUTO}"
        ),
    ] = None,
    tie: Annotated[
        bool | None,
        typer.Option(
            "--tie/--no-tie", help="One matrix for embedding and decoder. [default: of words]"
        ),
    ] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option(
            "--bidirectional", help="Also read from right to left, to fill blanks better."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help=f"Lanes of text read side by side. {_AUTO}")
    ] = None,
    seq_len: Annotated[
        int | None,
        typer.Option(help=f"Window of backpropagation through time, in symbols. {_AUTO}"),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help=f"Budget: passes over the text. {_AUTO}")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Budget: updates.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: time on the clock.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate. [default: from level, optimizer and cell]")
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="adam, rmsprop or sgd. [default: adam; of words, sgd]", metavar="NAME"),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(help="Momentum of --optimizer sgd. [default: 0.9; of words, 0]"),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Decoupled weight decay. [default: 0.01 with adam, else 0]")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Learning rate over the budget: cosine or constant. [default: cosine]",
            metavar="NAME",
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(help="Share of the budget over which the rate rises. [default: 0.02]"),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(
            help="Clip the gradient to this norm; 0: no clipping. [default: 1; of words, 0.25]"
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Recurrent weights: orthogonal or uniform. [default: orthogonal]", metavar="NAME"
        ),
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(help="Validate on this file. [default: the end of the text]")
    ] = None,
    valid_fraction: Annotated[
        float | None,
        typer.Option(help="Share of the text kept for validation, at its end. [default: 0.1]"),
    ] = None,
    evals: Annotated[
        int | None,
        typer.Option(help="Validations (and checkpoints) over the budget. [default: 10]"),
    ] = None,
    show_sample: Annotated[
        int, typer.Option(help="Symbols to draw and show after each validation.", metavar="N")
    ] = 0,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed for initial weights, dropout and window offsets. [default: 0]"),
    ] = None,
    device: DeviceOption = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of products on a GPU: fp32, tf32 or bf16. [default: fp32]", metavar="NAME"
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the CPU. [default: one for each processor]")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder of -o.")
    ] = False,
    init_from: Annotated[
        Path | None,
        typer.Option(help="Begin with the weights and vocabulary of this model.", metavar="MODEL"),
    ] = None,
) -> None:
    """Train a model on a text.

    Sizes that you do not give are chosen from the length of the text, and printed. Progress goes
    to stderr; only the path of the run folder goes to stdout.
    """
    from charrnn.cli.progress import Progress
    from charrnn.cli.signals import Signals
    from charrnn.events import Prepared, Stopped
    from charrnn.recipe import Options
    from charrnn.training import train as train_events

    options = Options(
        level=level,
        vocab_size=vocab_size,
        min_count=min_count,
        pretokenized=pretokenized,
        cell=cell,
        activation=activation,
        layers=layers,
        hidden_size=hidden,
        embed_size=embed,
        dropout=dropout,
        tie=tie,
        bidirectional=bidirectional,
        batch_size=batch_size,
        seq_len=seq_len,
        epochs=epochs,
        steps=steps,
        minutes=minutes,
        lr=lr,
        optimizer=optimizer,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup=warmup,
        clip=clip,
        init=init,
        valid_fraction=valid_fraction,
        evals=evals,
        seed=seed,
        precision=precision,
    )
    signals = Signals()
    events = train_events(
        corpus,
        output,
        options,
        resume=resume,
        init_from=init_from,
        valid=valid,
        sample_length=show_sample,
        device=device,
        threads=threads,
        announce=say,
        command=shlex.join(["charrnn", *sys.argv[1:]]),
        requests=signals.requests,
    )
    run = ""
    try:
        with signals, Progress() as progress:
            for event in events:
                if isinstance(event, Prepared):  # what is read before that is left at once
                    signals.catch_ends()
                    run = event.run
                progress.show(event)
    except (InputOutputError, OutputError) as error:
        if not run:
            raise
        again = resume_command(sys.argv[1:], run, named=output is not None)
        remedies = filter(None, [error.remedy, f"go on with: {again}"])
        raise type(error)(error.what, error.where, "; ".join(remedies)) from error
    if signals.stopped_by:
        if isinstance(event, Stopped):
            again = resume_command(sys.argv[1:], run, named=output is not None)
            say(f"stopped at step {event.step}; go on with: {again}")
        raise typer.Exit(128 + signals.stopped_by)


def resume_command(given: list[str], run: str, *, named: bool) -> str:
    """The command line that was given, to go on with the run; ``named``: it has -o."""
    at = given.index("train") + 1
    resume = [] if "--resume" in given else ["--resume"]
    folder = [] if named else ["-o", run]
    return " ".join(map(shell_word, ["charrnn", *given[:at], *resume, *folder, *given[at:]]))
