import json

import pytest

from charrnn.strict_json import MAX_CONTAINERS, MAX_DEPTH, MAX_DIGITS, parse


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"a": [1, -2.5e-3, true, null, "\\u00e9\\ud83d\\ude00"], "b": {"a": 1}}',
        "[" * MAX_DEPTH + "]" * MAX_DEPTH,
        "[" + "[]," * (MAX_CONTAINERS - 2) + "[]]",
        '["' + "[{" * MAX_CONTAINERS + '\\"[", "]"]',
        "9" * MAX_DIGITS,
        '"odd\\udcff.txt"',
    ],
    ids=range(7),
)
def test_what_is_sound_is_read_as_ever(text):
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"a": 1, "b": 2, "a": 1}', "equal keys"),
        ('[{"a": {"b": 1, "b": 1}}]', "equal keys"),
        ('{"a": 1, "\\u0061": 1}', "equal keys"),
        ("[NaN]", "NaN"),
        ("-Infinity", "Infinity"),
        ("1e999", "too large"),
        ("-1e999", "too large"),
        ("9" * (MAX_DIGITS + 1), "65 digits"),
        ("0." + "1" * MAX_DIGITS, "66 digits"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "too deep"),
        ('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "too deep"),
        ("[" + "[]," * MAX_CONTAINERS + "[]]", "too many"),
        ("[" + "{}," * MAX_CONTAINERS + "{}]", "too many"),
        ('"\\ud800"', "surrogates"),
        ('{"\\ude00\\ud83d": 1}', "surrogates"),
        ("", "Expecting value"),
        ("[1] 2", "Extra data"),
        ('"a', "Unterminated"),
        ("\ufeff1", "BOM"),
    ],
    ids=range(19),
)
def test_what_is_not_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)
