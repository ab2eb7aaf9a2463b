"""What all figures share: the style, the sizes of a paper, panels in rows, names that fit, one legend, and saving."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any

from matplotlib import font_manager, style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from oodgrid.paths import FORMATS
from oodgrid.report.letters import spelt
from oodgrid.store import atomic

STYLE = Path(__file__).with_name("oodgrid.mplstyle")
COLUMN, TEXT = 3.25, 6.75  # widths in inches
WIDTHS = {"": TEXT, "-column": COLUMN}  # by what stands behind the name of a figure
TALLEST = 9.0  # inches of a page
SMALL, TINY = 6.5, 5.5  # points
BESIDE_LABEL, LEGEND_LINE, LEGEND_FONT = 0.52, 0.15, 7.0  # a legend's sample and gap, a line's height; points
HINTED = 1.05  # letters on pixels are wider than their outlines
LEFT_TO_RIGHT = "\u200e"  # a mark without width
BETWEEN = " · "  # a method and its score
NOTE_LINE, NOTE = 0.12, "0.25"  # inches, and colour
OTHERS = "#C8C8C8"  # what is drawn for comparison only
# What would date a file is left out, so that the same numbers give the same bytes.
LEFT_OUT = {"pdf": "CreationDate", "svg": "Date", "png": "Software"}


FAMILY = "DejaVu Sans"  # ships with matplotlib
# Behind it, for letters that it lacks, whichever of these the machine has.
OTHER_FAMILIES = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB",
    "Arial Unicode MS", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Hebrew", "Noto Emoji",
)  # fmt: skip


@cache
def families() -> tuple[str, ...]:
    """Return the fonts of a figure, in the order in which a letter is looked for."""
    installed = set(font_manager.get_font_names())
    return FAMILY, *(name for name in OTHER_FAMILIES if name in installed)


@cache
def _printed() -> frozenset[int]:
    """Return the codes of all letters that the fonts have."""
    fonts = (font_manager.get_font(font_manager.findfont(name)) for name in families())
    return frozenset(code for font in fonts for code in font.get_charmap())


def missing(texts: Iterable[str]) -> str:
    """Return the letters for which there is no font."""
    return "".join(sorted({sign for text in texts for sign in text if sign > "~" and ord(sign) not in _printed()}))


def printable(text: str) -> str:
    """Return text whose letters all have a font: others are spelt, or given by their number."""
    if text.isascii():
        return text
    lacking = missing([text])
    text = "".join(spelt(sign) if sign in lacking else sign for sign in text)
    leftward = any(unicodedata.bidirectional(sign) in ("R", "AL") for sign in text)
    return LEFT_TO_RIGHT + text.lstrip(LEFT_TO_RIGHT) if leftward else text  # or names in it would change places


def styled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function under this project's style, whatever the user's matplotlibrc says."""

    @wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        with style.context([STYLE, {"font.family": list(families())}], after_reset=True):
            return function(*args, **options)

    return run


@styled
def save(figure: Figure, stem: Path) -> None:
    """Write a figure as `stem`.pdf, .svg and .png, each whole or not at all."""
    figure.draw_without_rendering()
    figure.set_layout_engine(None)  # the layout now stands; with any engine, each format would be drawn twice
    for suffix in FORMATS:
        with atomic(stem.with_name(f"{stem.name}.{suffix}")) as beside:
            figure.savefig(beside, format=suffix, metadata={LEFT_OUT[suffix]: None})


def blank(lines: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    """Return a figure and its axes, shape (lines, columns).

    Args:
        lines: Rows of panels.
        columns: Panels in a row.
        width: Inches of the figure.
        height: Inches of the figure, before its legend.
        options: As of matplotlib's `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(lines, columns, squeeze=False, **options)


def panels(count: int, width: float, most: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels in rows of at most `most`, `height` inches each, the rows filled evenly."""
    columns = even_columns(count, most)
    figure, grid = blank(-(-count // columns), columns, width, 0.45 + height * -(-count // columns), **options)
    for unused in grid.flat[count:]:
        unused.remove()
    return figure, list(grid.flat[:count])


def even_columns(count: int, most: int) -> int:
    """Return how many columns spread `count` things evenly over as few rows as `most` columns need."""
    rows = max(-(-count // most), 1)
    return max(-(-count // rows), 1)


def sentence(text: str, width: float = COLUMN) -> Figure:
    """Return a figure that says why there is none."""
    figure = Figure(figsize=(width, 1.0), layout="constrained")
    figure.text(0.5, 0.5, textwrap.fill(printable(text), int(15 * width)), ha="center", va="center")
    return figure


def note(figure: Figure, text: str) -> None:
    """Write what a reader must know below the panels, no wider than they; the figure grows by its height."""
    lines = wrap(text, figure.get_figwidth() - 0.1, SMALL)
    figure.set_figheight(figure.get_figheight() + NOTE_LINE * len(lines))
    figure.supxlabel("\n".join(lines), fontsize=SMALL, color=NOTE, x=0.015, ha="left")


# ------------------------------------------------------------------------------------------------ names that fit


@cache
def width_of(text: str, size: float) -> float:
    """Return the inches of a line of text in letters of `size` points."""
    font = FontProperties(family=families(), size=size)
    return HINTED * text_to_path.get_text_width_height_descent(text, font, False)[0] / 72


def shorten(text: str, inches: float, size: float) -> str:
    """Return text that is at most so wide: what is too much is taken from its middle, for ends tell names apart.

    Of two names joined by `BETWEEN` neither is lost: the second has two fifths of the room, or what the first leaves.
    """
    text = printable(text)
    if width_of(text, size) <= inches:
        return text
    first, between, second = text.partition(BETWEEN)
    if between:
        room = inches - width_of(between, size)
        second = shorten(second, max(0.4 * room, room - width_of(first, size)), size)
        return f"{shorten(first, room - width_of(second, size), size)}{between}{second}"
    low, high = 1, len(text) - 1  # letters that surely fit, for an ellipsis is always left, and that may
    while low < high:
        letters = -(-(low + high) // 2)
        low, high = (letters, high) if width_of(_without_middle(text, letters), size) <= inches else (low, letters - 1)
    return _without_middle(text, low)


def _without_middle(text: str, letters: int) -> str:
    return f"{text[: -(-letters // 2)].rstrip()}…{text[len(text) - letters // 2 :].lstrip()}" if letters > 1 else "…"


def wrap(text: str, inches: float, size: float) -> list[str]:
    """Return the lines in which a text stands so wide at most; words that are wider are shortened."""
    lines = [""]
    for word in re.split(r"\s+(?!%)", printable(text.strip())):  # 95 % stays together
        longer = f"{lines[-1]} {word}".strip()
        if width_of(longer, size) <= inches:
            lines[-1] = longer
        else:
            lines.append(shorten(word, inches, size))
    return [line for line in lines if line]


def fit(texts: Iterable[str], inches: float, size: float) -> list[str]:
    """Return texts that are at most so wide, no two alike where they were not: those that become alike are numbered."""
    texts = list(texts)
    short = {text: shorten(text, inches, size) for text in texts}
    whole = [text for text in short if short[text] == printable(text)]  # keep their letters, wherever they stand
    found: dict[str, str] = {}
    for text in dict.fromkeys([*whole, *short]):
        cut, number = short[text], 1
        while cut in found.values():
            number += 1
            mark = f" ({number})"
            cut = shorten(text, inches - width_of(mark, size), size) + mark
        found[text] = cut
    return [found[text] for text in texts]


def stacked(texts: Iterable[str], inches: float, size: float, most: int) -> list[str]:
    """Return texts as `fit` does; two names joined by `BETWEEN` one above the other, where one line would cut a text.

    Args:
        texts: What is to fit.
        inches: The width.
        size: Of letters, in points.
        most: Texts that may take two lines; more take one.
    """
    texts = list(texts)
    lines = fit(texts, inches, size)
    pairs = [text.partition(BETWEEN)[::2] for text in texts]
    if lines == [printable(text) for text in texts] or len(texts) > most or not all(second for _, second in pairs):
        return lines
    columns = [fit(column, inches, size) for column in zip(*pairs, strict=True)]
    return ["\n".join(pair) for pair in zip(*columns, strict=True)]


def title(axes: Axes, text: str, inches: float, size: float = 7.5) -> None:
    """Set a title in letters as large as fit the width of a panel, down to `TINY` points, and shortened then."""
    size = max(TINY, min(size, size * inches / max(width_of(text, size), 1e-9)))
    axes.set_title(shorten(text, inches, size), fontsize=size)


def titles(panels: Sequence[Axes], texts: Iterable[str], inches: float, size: float = 7.5) -> None:
    """Set the titles of panels, no two alike where they were not."""
    for axes, text in zip(panels, fit(texts, inches, TINY), strict=True):
        title(axes, text, inches, size)


# ------------------------------------------------------------------------------------------------------- legends


def legend_of(axes_list: Iterable[Axes]) -> dict[str, Artist]:
    """Return the labels of all that is drawn, each with its first sample."""
    samples: dict[str, Artist] = {}
    for axes in axes_list:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            samples.setdefault(label, handle)
    return samples


def legend(figure: Figure, samples: Mapping[str, Artist], text: str = "") -> None:
    """Put one legend below the panels, and below it a note, no wider than they; the figure grows by their height.

    Args:
        figure: Which.
        samples: What is drawn beside each label.
        text: What a reader must know beside.
    """
    width = figure.get_figwidth() - 0.1
    labels = fit(samples, width - BESIDE_LABEL, LEGEND_FONT)
    columns, lines = _legend_columns(labels, width), wrap(text, width - 0.15, SMALL)
    height = LEGEND_LINE * -(-len(labels) // columns) + 0.05 + NOTE_LINE * len(lines)
    figure.set_figheight(figure.get_figheight() + height)
    drawn = figure.legend(samples.values(), labels, loc="outside lower center", ncols=columns, fontsize=LEGEND_FONT,
                          title="\n".join(lines), title_fontsize=SMALL, alignment="left")  # fmt: skip
    drawn.get_title().set_color(NOTE)


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """Return the most columns, up to five, in which the labels stand within the width, filled downwards."""
    for most in range(5, 1, -1):
        columns = even_columns(len(labels), most)
        rows = max(-(-len(labels) // columns), 1)
        blocks = [labels[start : start + rows] for start in range(0, len(labels), rows)]
        if sum(BESIDE_LABEL + max(width_of(label, LEGEND_FONT) for label in block) for block in blocks) <= width:
            return columns
    return 1


def sample(**look: Any) -> Line2D:
    """Return a sample for a legend, of a line, a marker or both."""
    return Line2D([], [], **look)
