"""charrnn info: what a checkpoint is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.console import (
    ModelOption,
    at_most_one,
    json_line,
    rich_console,
    say,
    two_columns,
    write,
)

_SHOWN = 20  # words of a vocabulary


def info(
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Write the parameters for PyTorch, FILE.safetensors, and beside it as JSON the"
            " configuration and the vocabulary; charrnn import reads both.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Show what a checkpoint is: configuration, layers, vocabulary, provenance, validation."""
    from charrnn.runs import load_model

    at_most_one({"--json": as_json, "--export": export is not None})
    path, checkpoint = load_model(model, say)
    if export is not None:
        from charrnn.exchange import export as exported

        for written in exported(checkpoint, export):
            write(f"{written}\n")
        return
    symbols, chars = checkpoint.vocabulary.symbols, checkpoint.config.level == "char"
    found: dict[str, Any] = {
        "path": str(path),
        "sha256": checkpoint.sha256,
        "bytes": path.stat().st_size,
        "parameters": sum(value.size for value in checkpoint.weights.values()),
        "model": checkpoint.config.to_dict(),
        "tokenizer": checkpoint.vocabulary.tokenizer,
        "vocabulary": "".join(symbols) if chars else list(symbols),
        "training": checkpoint.training,
        "counters": checkpoint.counters,
        "validation": checkpoint.validation,
        "corpus": checkpoint.corpus,
        "origin": checkpoint.origin,
    }
    if as_json:
        write(json_line(found))
        return

    from rich import filesize

    from charrnn.cli.summary import layer_summary

    some = " ".join(map(repr, symbols[:_SHOWN])) + (" ..." if len(symbols) > _SHOWN else "")
    rows = [
        ("checkpoint", f"{path}, {filesize.decimal(found['bytes'])}"),
        ("sha256", checkpoint.sha256),
        ("vocabulary", f"{len(symbols):,} {'characters' if chars else 'words'}"),
        ("vocabulary", "".join(symbols) if chars else some),
    ]
    for name in ("model", "training", "counters", "validation", "corpus", "origin"):
        rows += [(name, f"{k}: {v}") for k, v in _flat(found[name]) if v is not None]
    write(two_columns(rows))
    rich_console().print(layer_summary(checkpoint.config))


def _flat(values: dict[str, Any]) -> list[tuple[str, Any]]:
    """Nested dictionaries as one list of names and values."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value) if isinstance(value, dict) else [(key, value)]
    return found
