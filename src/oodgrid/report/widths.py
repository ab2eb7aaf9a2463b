"""How wide words and numbers are in LaTeX: estimates, by the widths of Computer Modern at footnotesize, in pt."""

from __future__ import annotations

import re
from collections.abc import Iterable

from oodgrid.report.letters import substitute
from oodgrid.report.render import Cell

EIGHT = {
    " ": 2.9,
    ".,:;'|![]ijl": 2.4,
    "()tfr-": 3.4,
    "0123456789acesz↑↓†": 4.25,
    "mw@%&MW": 8.0,
}  # widths at footnotesize, pt
MOST_LINES = 3  # of a header
ARROWS = ("↑", "↓")  # which way is better: never a line alone behind a bracket
UPPER, OTHER, BOLD, SCRIPT = 6.1, 4.8, 1.16, 0.86  # of other letters; of bold, of smaller type


def text_width(text: str) -> float:
    """Return about how wide a text is at footnotesize, in pt, rather more than less."""
    return sum(_letter(letter) for letter in text)


def _letter(letter: str) -> float:
    for letters, width in EIGHT.items():
        if letter in letters:
            return width
    count = 1 if letter.isascii() else min(len(substitute(letter)), 8)
    return (UPPER if letter.isupper() else OTHER) * count


def cell_width(cell: Cell, style: str) -> float:
    """Return about how wide a printed number is, in one of the styles of `latex.STYLES`."""
    mean = text_width(cell.mean) * (BOLD if cell.best else 1.0)
    if cell.lo and style == "full":
        return mean + text_width(f" [{cell.lo}, {cell.hi}]")
    if cell.lo and style == "small":
        return mean + SCRIPT * max(text_width(cell.lo), text_width(cell.hi)) + 0.5
    if cell.sd and style != "plain":
        return mean + (8.5 + text_width(cell.sd)) * (1.0 if style == "beside" else SCRIPT)
    return mean


def abbreviated(names: Iterable[str], width: float) -> dict[str, str]:
    """Return short forms of the names that are wider, cut in their middle, no two alike and none like another name."""
    names = list(dict.fromkeys(names))
    taken, found = {name for name in names if text_width(name) <= width}, {}
    for name in names:
        if name in taken:
            continue
        letters = len(name) - 1
        while letters > 2 and text_width(_cut(name, letters)) > width:
            letters -= 1
        short, number = _cut(name, letters), 1
        while short in taken:
            number += 1
            short = f"{_cut(name, max(letters - 4, 2))} ({number})"
        found[name] = short
        taken.add(short)
    return found


def _cut(name: str, letters: int) -> str:
    return f"{name[: -(-letters // 2)].rstrip()}…{name[len(name) - letters // 2 :].lstrip()}"


def wrapped(text: str, limit: int) -> list[str]:
    """Return a header in three lines at most: what stands in brackets apart, long names broken after signs.

    Args:
        text: The header.
        limit: Letters of a line, or more where three lines would not hold the header.
    """
    while len(lines := _broken_at(text, limit)) > MOST_LINES:
        limit += 1
    return lines


def _broken_at(text: str, limit: int) -> list[str]:
    name, bracket, rest = text.partition(" (")
    if bracket and len(text) > limit:
        *lines, last = [*_broken_at(name, limit), *_broken_at(f"({rest}", limit)]
        return [*lines[:-1], f"{lines[-1]} {last}"] if last in ARROWS else [*lines, last]
    lines = [""]
    for piece in re.findall(r"[^\s\-_/@=,]+[\s\-_/@=,]*|[\s\-_/@=,]+", text):
        while len(piece) > limit + 2:
            seam = re.match(rf"[^\W\d]{{2,{limit}}}(?=\d)", piece)  # as in places365
            lines.append(seam[0] if seam else f"{piece[: limit - 1]}-")
            piece = piece[len(seam[0]) if seam else limit - 1 :]
        if len(f"{lines[-1]}{piece}".rstrip()) > limit and lines[-1]:
            lines.append("")
        lines[-1] += piece
    return [line.strip() for line in lines if line.strip()] or [""]
