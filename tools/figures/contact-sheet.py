#!/usr/bin/env python3
"""Puts figures side by side at the size in which they are printed: tools/figures/contact-sheet.py OUT.svg FIGURE.svg...

Each figure keeps its width and height in inches and has its path above it. Needs Python 3 alone; `rsvg-convert -d 90 -p 90` makes a picture
of the sheet.
"""

import re
import sys
from pathlib import Path

# Points.
WIDTH, GAP, NAME = 980.0, 9.0, 12.0


def figure(path: Path) -> tuple[float, float, str]:
    """Width, height and content of a drawing."""
    text = path.read_text(encoding="utf-8")
    size = [72 * float(re.search(rf'\b{side}="([0-9.]+)in"', text).group(1)) for side in ("width", "height")]
    return size[0], size[1], text


def main() -> None:
    out, paths = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    drawn = [(path, *figure(path)) for path in paths]
    narrow = min(width for _, width, _, _ in drawn)
    columns = int((WIDTH + GAP) / (narrow + GAP))
    ends, placed = [0.0] * columns, []
    # Wide figures first; each goes where it ends up highest.
    for path, width, height, text in sorted(drawn, key=lambda one: (-one[1], -one[2])):
        span = min(columns, -int(-(width + GAP) // (narrow + GAP)))
        tops = [max(ends[first : first + span]) for first in range(columns - span + 1)]
        first = min(range(len(tops)), key=tops.__getitem__)
        top = tops[first]
        ends[first : first + span] = [top + NAME + height + GAP] * span
        placed.append((first * (narrow + GAP), top, path, width, height, text))
    height = max(ends)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}pt" height="{height:.2f}pt" viewBox="0 0 {WIDTH} {height:.2f}">']
    lines.append(f'<rect width="{WIDTH}" height="{height:.2f}" fill="#d8d8d8"/>')
    for x, y, path, width, figure_height, text in placed:
        lines.append(f'<text x="{x:.2f}" y="{y + 9:.2f}" font-size="8" font-family="Liberation Sans, Arial, sans-serif">{path.stem}</text>')
        inner = re.sub(r"^<svg ", f'<svg x="{x:.3f}" y="{y + NAME:.3f}" ', text.strip(), count=1)
        inner = re.sub(r'\bwidth="[0-9.]+in" height="[0-9.]+in"', f'width="{width}" height="{figure_height}"', inner, count=1)
        lines.append(inner)
    out.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
