"""The table of a model's layers, as train and info show it."""

from __future__ import annotations

from rich.table import Table

from charrnn.config import ModelConfig
from charrnn.preflight import layer_table


def layer_summary(config: ModelConfig, steps: int | str = "T", batch: int | str = "B") -> Table:
    """Layer, kind, output shape, parameters with shapes and counts; the total below."""
    table = Table(show_footer=True)
    rows = layer_table(config, steps, batch)
    total = sum(row.parameters for row in rows)
    table.add_column("layer", "total")
    table.add_column("kind")
    table.add_column("output")
    table.add_column("parameters")
    table.add_column("count", f"{total:,}", justify="right")
    for row in rows:
        table.add_row(
            row.name,
            row.kind,
            _shape(row.output),
            "\n".join(f"{_short(n)} {_shape(s)}" for n, s in row.shapes.items()),
            f"{row.parameters:,}",
        )
    return table


def _short(name: str) -> str:
    """The row says which stack it is."""
    return name.removeprefix("rnn.").removeprefix("reverse.")


def _shape(dimensions: tuple[int | str, ...]) -> str:
    return " x ".join(map(str, dimensions))
