"""What the commands share: safe output, columns."""

from __future__ import annotations

import pytest

from charrnn.cli.console import escape, two_columns


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain, naïve ☃ 😀", "plain, naïve ☃ 😀"),
        ("line\nand\ttab", "line\nand\ttab"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\r\x00\x7f\x9b", "\\r\\x00\\x7f\\x9b"),
        ("caf\udce9", "caf\\udce9"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
    ],
)
def test_escape_spells_out_what_steers_a_terminal(text, shown):
    assert escape(text) == shown


def test_two_columns_are_one_line_each():
    rows = [("name", "a\nb\tc"), ("name", "\x1b"), ("other", "d")]
    assert two_columns(rows) == "name        a\\nb\\tc\n            \\x1b\nother       d\n"
