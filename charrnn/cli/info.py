"""charrnn info: what a checkpoint is."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from charrnn.cli.console import ModelOption, escape, size, write


def info(
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what a checkpoint is: configuration, layers, vocabulary, provenance, validation."""
    from charrnn.checkpoint import load
    from charrnn.runs import find_checkpoint

    path = find_checkpoint(model)
    checkpoint = load(path)
    facts: dict[str, Any] = {
        "path": str(path),
        "sha256": checkpoint.sha256,
        "bytes": path.stat().st_size,
        "parameters": sum(value.size for value in checkpoint.weights.values()),
        "model": checkpoint.config.to_dict(),
        "vocabulary": "".join(checkpoint.vocabulary.symbols),
        "training": checkpoint.training,
        "counters": checkpoint.counters,
        "validation": checkpoint.validation,
        "corpus": checkpoint.corpus,
        "origin": checkpoint.origin,
    }
    if as_json:
        write(json.dumps(facts, ensure_ascii=False) + "\n")
        return

    from rich.console import Console
    from rich.table import Table

    from charrnn.cli.layers import layers

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("checkpoint", f"{escape(str(path))}, {size(facts['bytes'])}")
    table.add_row("sha256", checkpoint.sha256)
    table.add_row(
        "vocabulary", f"{len(checkpoint.vocabulary.symbols)} characters: {_spelled(checkpoint)}"
    )
    for name in ("model", "training", "counters", "validation", "corpus", "origin"):
        for key, value in _flat(facts[name]):
            table.add_row(name, f"{key}: {escape(str(value))}")
            name = ""
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    console.print(layers(checkpoint.config))


def _spelled(checkpoint: Any) -> str:
    shown = "".join(checkpoint.vocabulary.symbols[:200]).replace("\n", "\\n").replace("\t", "\\t")
    return escape(shown) + ("..." if len(checkpoint.vocabulary.symbols) > 200 else "")


def _flat(values: dict[str, Any]) -> list[tuple[str, Any]]:
    """Nested dictionaries as one list of names and values."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value) if isinstance(value, dict) else [(key, value)]
    return found
