"""What the commands share: safe output, columns."""

from __future__ import annotations

import json

import pytest

from charrnn.cli.console import escape, json_line, one_line, two_columns


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain, naïve ☃ 😀", "plain, naïve ☃ 😀"),
        ("line\nand\ttab", "line\nand\ttab"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\r\x00\x7f\x9b", "\\r\\x00\\x7f\\x9b"),
        ("caf\udce9", "caf\\udce9"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("one\u2028line\u0085", "one\\u2028line\\x85"),
        ("\ufeffA\U000e0041", "\\ufeffA\\U000e0041"),
        ("می\u200cخواهم 👩\u200d💻 auf\u00adzu", "می\u200cخواهم 👩\u200d💻 auf\u00adzu"),
    ],
)
def test_escape_spells_out_what_steers_a_terminal(text, shown):
    assert escape(text) == shown


def test_one_line_has_neither_line_breaks_nor_tabs():
    assert one_line("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"


def test_json_is_escaped_by_its_own_means():
    record = {"naïve\x9b": ["\x7f\u202e\u2028", "\U000e0041", "caf\udce9", "\n\t☃\\"]}
    line = json_line(record)
    assert line == (
        r'{"naïve\u009b": ["\u007f\u202e\u2028", "\udb40\udc41", "caf\udce9", "\n\t☃\\"]}' "\n"
    )
    assert json.loads(line) == record


def test_two_columns_are_one_line_each():
    rows = [("name", "a\nb\tc"), ("name", "\x1b"), ("other", "d")]
    assert two_columns(rows) == "name        a\\nb\\tc\n            \\x1b\nother       d\n"
