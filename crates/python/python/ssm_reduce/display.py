"""What notebooks show: figures as SVG, tables as HTML, the text of an item with its removed tokens struck out."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl


@dataclass(frozen=True)
class Figure:
    """One figure of a report. A notebook shows it; :attr:`numbers` holds what it shows.

    Example:
        >>> figure = results.figure(results.figures[0])
        >>> figure.svg.startswith("<svg")
        True
        >>> figure.numbers.height > 0
        True
    """

    name: str
    """Its name in the report, without ending."""
    path: Path
    """The SVG file. The folder also holds a PDF, a PNG and a CSV of this name."""

    @property
    def svg(self) -> str:
        """The figure as SVG."""
        return self.path.read_text(encoding="utf-8")

    @property
    def numbers(self) -> pl.DataFrame:
        """The numbers that the figure shows."""
        return pl.read_csv(self.path.with_suffix(".csv"), infer_schema_length=None)

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True)
class Table:
    """One table of a report. A notebook shows it; :attr:`numbers` holds its cells.

    Example:
        >>> table = results.table("effects_30")
        >>> table.markdown.startswith("|")
        True
        >>> "<table>" in table.html
        True
    """

    name: str
    """Its name in the report, without ending."""
    path: Path
    """The Markdown file. The folder also holds a CSV and a LaTeX file of this name."""

    @property
    def markdown(self) -> str:
        """The table as Markdown."""
        return self.path.read_text(encoding="utf-8")

    @property
    def html(self) -> str:
        """The table as HTML."""
        return html_of(self.markdown)

    @property
    def numbers(self) -> pl.DataFrame:
        """Values, half-widths of their intervals, and the achieved reductions at which they were measured."""
        return pl.read_csv(self.path.with_suffix(".csv"), infer_schema_length=None)

    def __str__(self) -> str:
        return self.markdown

    def _repr_markdown_(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        return self.html


@dataclass(frozen=True, repr=False)
class Struck:
    """Tokens of a text, the removed ones struck out and the necessary ones in bold. Made by :func:`struck`."""

    tokens: tuple[str, ...]
    removed: frozenset[int]
    necessary: frozenset[int]
    title: str

    def __str__(self) -> str:
        """Plain text: removed tokens are in square brackets, necessary ones between stars."""
        words = []
        for place, token in enumerate(self.tokens):
            word = f"*{token.strip()}*" if place in self.necessary else token.strip()
            words.append(f"[{word}]" if place in self.removed else word)
        title = f"{self.title}: " if self.title else ""
        return title + " ".join(words)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        words = []
        for place, token in enumerate(self.tokens):
            word = html.escape(token)
            if place in self.necessary:
                word = f"<b>{word}</b>"
            if place in self.removed:
                word = f'<s style="color: #d55e00">{word}</s>'
            words.append(word)
        # Tokens of natural text bring their spaces along; words of the artificial one do not.
        joint = "" if any(token[:1].isspace() for token in self.tokens[1:]) else " "
        title = f"<b>{html.escape(self.title)}</b><br>" if self.title else ""
        return f'<p style="line-height: 1.6">{title}{joint.join(words)}</p>'


def struck(
    tokens: Sequence[str],
    removed: Collection[int],
    necessary: Collection[int] = (),
    title: str = "",
) -> Struck:
    """Shows a text with its removed tokens struck out.

    Args:
        tokens: The text of each token, by position.
        removed: Positions of the tokens that were removed.
        necessary: Positions of the tokens that the answer needs; shown in bold.
        title: A line above the text.

    Example:
        >>> print(struck(["Edith", "likes", "eggs", "."], removed=[1, 2], necessary=[2]))
        Edith [likes] [*eggs*] .
    """
    return Struck(tuple(tokens), frozenset(removed), frozenset(necessary), title)


def html_of(markdown: str) -> str:
    """The Markdown of reports as HTML: headings, paragraphs, quotes and tables, and nothing else of Markdown.

    Example:
        >>> html_of("**B is better** than `A`.")
        '<p><b>B is better</b> than <code>A</code>.</p>'
    """
    return "\n".join(_block(block.split("\n")) for block in re.split(r"\n{2,}", markdown.strip("\n")) if block)


def _block(lines: list[str]) -> str:
    if len(lines) > 1 and lines[0].startswith("|"):
        return _table(lines)
    text = " ".join(line.removeprefix("> ") for line in lines)
    if heading := re.match(r"(#+) +(.*)", text):
        level = min(len(heading[1]) + 2, 6)  # Below the headings of the notebook.
        return f"<h{level}>{_inline(heading[2])}</h{level}>"
    if lines[0].startswith("> "):
        return f"<blockquote>{_inline(text)}</blockquote>"
    return f"<p>{_inline(text)}</p>"


def _table(lines: list[str]) -> str:
    head, rule, *rows = map(_cells, lines)
    sides = ["right" if cell.endswith(":") else "left" for cell in rule]

    def row(cells: list[str], tag: str) -> str:
        made = (
            f'<{tag} style="text-align: {side}">{_inline(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = io.StringIO()
    body.write(f"<table><thead>{row(head, 'th')}</thead><tbody>")
    for cells in rows:
        body.write(row(cells, "td"))
    body.write("</tbody></table>")
    return body.getvalue()


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", inner)]


def _inline(text: str) -> str:
    """Code, bold and escapes. Reports write everything else, entities included, as HTML already."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        f"<code>{html.escape(piece[1:-1])}</code>" if piece.startswith("`") else _prose(piece) for piece in pieces
    )


def _prose(text: str) -> str:
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\\([\\`*_{}\[\]()#+.!|<>~-])", lambda found: html.escape(found[1]), bold)
