"""Values out of an HTML page by CSS selectors. Runs as a program of its own: page and selectors on standard input,
the values on standard output, as JSON.

A few bytes of selector over a page made for it keep any engine busy for minutes. So it is not run in the hub's own
process: the limits here end it, whatever its parent does. It may import nothing of ours.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import lxml.etree
import lxml.html
from cssselect import HTMLTranslator

CPU_SECONDS = 2
MOST_MEMORY = 1024 * 1024 * 1024


def extract(page: str, selectors: dict[str, Any]) -> dict[str, Any]:
    """Each selector's first match, or all of them: its text, or one of its attributes; null where there is none."""
    parser = lxml.html.HTMLParser(encoding="utf-8", no_network=True)
    try:
        root = lxml.html.document_fromstring(page.encode("utf-8", "replace") or b" ", parser=parser)
    except lxml.etree.ParserError:  # There is no element in it.
        return {name: [] if _is_all(wanted) else None for name, wanted in selectors.items()}
    return {name: _found(root, wanted) for name, wanted in selectors.items()}


def _is_all(wanted: Any) -> bool:
    return isinstance(wanted, dict) and bool(wanted.get("all"))


def _found(root: Any, wanted: Any) -> Any:
    wanted = {"selector": wanted} if isinstance(wanted, str) else wanted
    elements = root.xpath(HTMLTranslator().css_to_xpath(wanted["selector"]))
    if _is_all(wanted):
        return [_value(element, wanted.get("attribute")) for element in elements]
    return _value(elements[0], wanted.get("attribute")) if elements else None


def _value(element: Any, attribute: str | None) -> str | None:
    if attribute is not None:
        value: str | None = element.get(attribute)
        return value
    return " ".join("".join(element.itertext()).split())


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    given = json.load(sys.stdin.buffer)
    sys.stdout.buffer.write(json.dumps(extract(given["html"], given["selectors"])).encode())


if __name__ == "__main__":
    main()
