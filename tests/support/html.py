"""The page of ``charrnn eval --html``, read as a browser would, and strictly."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

_EMPTY = {"meta"}
_ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "i", "pre", "b", "div"),
    "script",
}
_ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "role", "data-v"}


class Page(HTMLParser):
    """``texts``: what stands in each ``<pre>``, of symbols alone; ``values``: what is said of each.

    Fails on an element or attribute that does not belong there, or is not closed in its turn.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.open: list[str] = []
        self.headings: list[str] = []
        self.texts: list[str] = []
        self.values: list[Any] = []
        self.policy = self.script = ""
        self.feed(source)
        self.close()
        assert not self.open
        assert source.count("<script>") == source.count("</script>") == 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag in _ALLOWED, tag
        assert set(given) <= _ATTRIBUTES, given
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        if tag in ("h1", "h2"):
            self.headings.append("")
        elif tag == "pre":
            self.texts.append("")
        elif tag == "i" and "pre" in self.open:
            self.values.append(json.loads(given["data-v"] or ""))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "pre" in self.open:
            assert "i" in self.open, "text that is of no symbol"
            self.texts[-1] += data
        elif self.open and self.open[-1] in ("h1", "h2"):
            self.headings[-1] += data
        elif self.open and self.open[-1] == "script":
            self.script += data


parse = Page
