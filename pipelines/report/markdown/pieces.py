"""What every part of the Markdown is built of: texts that cannot end their place in the document, tables, headings."""

import html
import re
from collections.abc import Iterable, Sequence


def fenced(text: str, kind: str = "text") -> str:
    """`text` as a code block that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}"


def escaped(text: object) -> str:
    """`text` on one line, with nothing that Markdown or HTML reads as markup."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", line)


def part(title: str, parts: Iterable[str]) -> list[str]:
    return [f"## {title}", *(list(parts) or ["Not yet."])]


def table(head: Sequence[str], rows: Iterable[Sequence[object]], align: str) -> list[str]:
    """One table, or nothing where there are no rows. `align` has a letter, l or r, for each column."""
    lines = [[escaped(cell) for cell in row] for row in rows]
    if not lines:
        return []
    rule = ["--:" if letter == "r" else ":--" for letter in align]
    heads = [escaped(cell) for cell in head]
    return ["\n".join("| " + " | ".join(line) + " |" for line in [heads, rule, *lines])]
