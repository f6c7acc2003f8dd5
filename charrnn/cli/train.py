"""charrnn train: the options, and the events of a run drawn as they come."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.console import DeviceOption, say

_AUTO = "[default: from the text]"


def train(
    corpus: Annotated[
        list[str], typer.Argument(help="Text files, folders of them, .gz, or - for stdin.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Run folder. [default: checkpoints/NAME]"),
    ] = None,
    cell: Annotated[str, typer.Option(help="lstm, gru or rnn.", metavar="CELL")] = "lstm",
    activation: Annotated[
        str, typer.Option(help="Of --cell rnn: tanh, relu or sigmoid.", metavar="NAME")
    ] = "tanh",
    layers: Annotated[int | None, typer.Option(help=f"Recurrent layers. {_AUTO}")] = None,
    hidden: Annotated[int | None, typer.Option(help=f"Hidden size of a layer. {_AUTO}")] = None,
    embed: Annotated[
        int | None, typer.Option(help="Embedding size. [default: the hidden size]")
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help=f"On embeddings, between layers, before the decoder. {_AUTO}"),
    ] = None,
    tie: Annotated[
        bool, typer.Option("--tie/--no-tie", help="One matrix for embedding and decoder.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(help=f"Lanes of text read side by side. {_AUTO}")
    ] = None,
    seq_len: Annotated[
        int | None,
        typer.Option(help=f"Window of backpropagation through time, in symbols. {_AUTO}"),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help=f"Budget: times over the text. {_AUTO}")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Budget: updates.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: time on the clock.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate. [default: from optimizer and cell]")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="adam, rmsprop or sgd.", metavar="NAME")] = "adam",
    momentum: Annotated[float, typer.Option(help="Of --optimizer sgd.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="Decoupled weight decay.")] = 0.01,
    schedule: Annotated[
        str, typer.Option(help="Learning rate over the budget: cosine or constant.", metavar="NAME")
    ] = "cosine",
    warmup: Annotated[
        float, typer.Option(help="Share of the budget over which the rate rises.")
    ] = 0.02,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient; 0: any.")] = 1.0,
    init: Annotated[
        str, typer.Option(help="Recurrent weights: orthogonal or uniform.", metavar="NAME")
    ] = "orthogonal",
    valid: Annotated[
        Path | None, typer.Option(help="Validate on this file. [default: the end of the text]")
    ] = None,
    valid_fraction: Annotated[
        float, typer.Option(help="Share of the text kept for validation, at its end.")
    ] = 0.1,
    evals: Annotated[int, typer.Option(help="Validations (and checkpoints) over the budget.")] = 10,
    show_sample: Annotated[
        int, typer.Option(help="Symbols to draw and show after each validation.", metavar="N")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of initial weights, dropout and windows.")] = 0,
    device: DeviceOption = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads of the CPU's matrix products. [default: all]")
    ] = None,
) -> None:
    """Train a model on a text.

    What is left open is chosen from the size of the text, and printed. Progress goes to stderr;
    stdout carries the name of the run folder alone.
    """
    from charrnn.cli.progress import Progress
    from charrnn.recipe import Options
    from charrnn.training import train as train_events

    options = Options(
        cell=cell,
        activation=activation,
        layers=layers,
        hidden_size=hidden,
        embed_size=embed,
        dropout=dropout,
        tie=tie,
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
    )
    events = train_events(
        corpus,
        output,
        options,
        valid=valid,
        sample_length=show_sample,
        device=device,
        threads=threads,
        command=shlex.join(["charrnn", *sys.argv[1:]]),
    )
    with Progress() as progress:
        try:
            for event in events:
                progress.show(event)
        except KeyboardInterrupt:
            say(f"interrupted; last checkpoint: {progress.saved or 'none yet'}")
            raise
