"""Texts coloured by surprisal: colours, the terminal, and the page in a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from rich.console import Console

from charrnn.cli.page import LEVELS, level, page, print_heat
from charrnn.evaluation import Evaluator, Judged
from charrnn.text import CharVocabulary
from charrnn.text.segments import segments
from charrnn.verdicts import Verdicts
from tests.support.html import parse
from tests.support.tiny import tiny_model

ALPHABET = CharVocabulary("\n \tabc")


def bits(x):
    return x * math.log(2)


def judged(text, of_each, vocabulary=ALPHABET):
    """A text with so many bits of each of its symbols; two likeliest symbols are shown of each."""
    [segment] = segments([text], vocabulary)
    n = len(segment.ids)
    verdicts = Verdicts(
        nats=bits(np.array(of_each, float)), ranks=np.full(n, 2), top=np.full(n, 0.75),
        entropies=np.full(n, bits(1.5)), others=np.tile([1, 2], (n, 1)),
        p=np.tile([0.75, 0.125], (n, 1)),
    )  # fmt: skip
    return Judged(segment, verdicts)


def parsed(*texts, title="T", note="N", symbols=ALPHABET.tokens):
    return parse("".join(page(title, note, texts, symbols)))


@pytest.mark.parametrize(
    "surprisal, expected",
    [(0, 0), (0.99, 0), (1.01, 1), (1.99, 1), (2.01, 2), (4.01, 3), (7.01, 4), (9.99, 4),
     (10.01, 5), (1000, 5), (math.inf, 5)],
)  # fmt: skip
def test_colours_change_at_these_bits(surprisal, expected):
    assert level(bits(surprisal)) == expected


def test_a_colour_begins_with_its_bits():
    assert [level(bits(b) * (1 + 1e-9)) for b in LEVELS] == [1, 2, 3, 4, 5]


# On a terminal


def heat(*parts):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=20)
    print_heat(parts, console)
    return file.getvalue()


def test_a_symbol_that_was_foreseen_has_no_colour():
    assert heat(judged("ab c\n", [0, 0.5, 0, 0, 0])) == "ab c\n"


def test_each_symbol_has_its_colour_and_line_breaks_are_seen_where_they_have_one():
    found = heat(judged("ab\nc", [0, 1.5, 11, 0]))
    plain = re.sub(r"\x1b\[[\d;]*m", "", found)
    assert plain == "ab↵\nc\n"
    assert re.findall(r"\x1b\[([\d;]+)m([^\x1b])\x1b\[0m", found) == [
        ("30;48;2;255;243;196", "b"),
        ("30;48;2;215;65;59", "↵"),
    ]


def test_a_line_goes_on_in_the_next_part_of_a_text_and_is_not_wrapped():
    parts = [judged("a" * 15, [0] * 15), judged("b" * 15 + "\n", [0] * 16)]
    assert heat(*parts) == "a" * 15 + "b" * 15 + "\n"


def test_control_characters_are_spelled_out():
    assert heat(judged("a\x1b[2J\u202e\n", [0] * 7)) == "a\\x1b[2J\\u202e\n"


# The page


def test_no_text_at_all_is_a_page_too():
    found = parsed()
    assert (found.headings, found.texts) == (["T"], [])


def test_a_text_of_which_nothing_could_be_read_is_not_on_the_page():
    found = parsed(("none", []), ("some", [judged("ab", [1, 2])]))
    assert (found.headings, found.texts) == (["T", "some"], ["ab"])


def test_the_parts_of_a_text_stand_together():
    found = parsed(("t", [judged("a\n", [1, 2]), judged("bc", [3, 4])]))
    assert found.texts == ["a↵\nbc"]
    assert [value["bits"] for value in found.values] == [1, 2, 3, 4]


def test_what_is_said_of_a_symbol():
    found = parsed(("t", [judged("ax", [3, 2.00004])]))
    assert found.values == [
        {"p": 0.125, "bits": 3.0, "rank": 2, "entropy": 1.5, "known": True,
         "others": [["\\n", 0.75], ["␣", 0.125]]},
        {"p": 0.25, "bits": 2.0, "rank": 2, "entropy": 1.5, "known": False,
         "others": [["\\n", 0.75], ["␣", 0.125]]},
    ]  # fmt: skip


def test_titles_and_notes_are_text():
    hostile = '</title><script>alert("1")</script>&amp;{styles}'
    found = parsed(title=hostile, note=hostile)
    assert found.headings == [hostile]


def test_the_page_needs_nothing_from_elsewhere():
    source = parsed(("t", [judged("ab", [1, 2])])).source
    assert not re.search(r"https?:|//|@import|url\(|\bsrc=|<link", source)


def test_the_policy_lets_nothing_run_but_the_script_of_the_page():
    found = parsed()
    digest = base64.b64encode(hashlib.sha256(found.script.encode()).digest()).decode()
    directives = dict(part.strip().split(" ", 1) for part in found.policy.split(";"))
    assert directives == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


# In a browser

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
in_browser = pytest.mark.skipif(not BROWSER, reason="there is no Chromium to show the page in")


@pytest.fixture
def dumped(tmp_path):
    """What a browser has made of a page, with a script at its end that the policy allows."""

    def dump(source, script):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed = source.replace("script-src", f"script-src 'sha256-{digest}'")
        path = tmp_path / "page.html"
        path.write_text(f"{allowed}<script>{script}</script>", encoding="utf-8")
        found = subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
             path.as_uri()],
            capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        return found.stdout.decode()

    return dump


HOVER = """
const at = document.querySelectorAll("pre i")[2];
at.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
document.title = getComputedStyle(document.getElementById("card")).display;
"""


@in_browser
def test_a_card_shows_what_the_model_made_of_a_symbol(dumped):
    evaluator = Evaluator(tiny_model(ALPHABET), ALPHABET, alternatives=3)
    parts = list(evaluator.judged(["ab\n<c"]))
    source = parsed(("t", parts)).source
    dom = dumped(source, HOVER)
    value = parse(source).values[2]
    card = re.search(r'<div id="card".*?</div>', dom, re.DOTALL)[0]
    rows = re.findall(r"<td>(.*?)</td><td>(.*?)</td>", card)
    assert rows == [
        ("probability", f"{value['p']}"),
        ("surprisal", f"{value['bits']} bits"),
        ("rank", f"{value['rank']}"),
        ("entropy", f"{value['entropy']} bits"),
        *((f"“{text}”", f"{p}") for text, p in value["others"]),
    ]
    assert "<title>block</title>" in dom


@in_browser
def test_what_a_text_says_stays_text(dumped):
    """Were it not, its script would change the title, or leave an element behind."""
    hostile = "</i></pre><script>document.title='broken'</script><img src=x onerror=\"1\">'&lt;"
    source = parsed((hostile, [judged(hostile, [1] * len(hostile))]), symbols=[hostile] * 9).source
    dom = dumped(source, HOVER)
    assert "<title>block</title>" in dom
    assert "<img" not in dom
    seen = dumped(source, "document.title = document.querySelector('pre').textContent")
    assert re.search("<title>(.+?)</title>", seen)[1] == (
        hostile.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )


@in_browser
def test_the_policy_keeps_other_scripts_from_running(dumped):
    source = parsed().source.replace("</body>", "<script>document.title='broken'</script></body>")
    assert "<title>T</title>" in dumped(source, "1")
