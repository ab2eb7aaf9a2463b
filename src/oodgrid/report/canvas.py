"""What all figures share: the style, the sizes of a paper, panels in rows, one legend, and saving."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oodgrid.paths import FORMATS
from oodgrid.store import atomic

STYLE = Path(__file__).with_name("oodgrid.mplstyle")
COLUMN, TEXT = 3.25, 6.75  # widths in inches
PER_ROW = 4
LETTER, BESIDE_LABEL, LEGEND_LINE = 0.059, 0.5, 0.16  # inches of a legend: a letter, a line's sample, a line's height
# What would date a file is left out, so that the same numbers give the same bytes.
LEFT_OUT = {"pdf": "CreationDate", "svg": "Date", "png": "Software"}


def styled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function under this project's style, whatever the user's matplotlibrc says."""

    @wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        with style.context(STYLE, after_reset=True):
            return function(*args, **options)

    return run


@styled
def save(figure: Figure, stem: Path) -> None:
    """Write a figure as `stem`.pdf, .svg and .png, each whole or not at all."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout now stands; solving it anew for each format takes most of the time
    for suffix in FORMATS:
        with atomic(stem.with_name(f"{stem.name}.{suffix}")) as beside:
            figure.savefig(beside, format=suffix, metadata={LEFT_OUT[suffix]: None})


def blank(lines: int, columns: int, height: float, narrow: bool = False) -> tuple[Figure, Any]:
    """Return a figure of text width (column width where `narrow`) and its axes, shape (lines, columns).

    Args:
        lines: Rows of panels.
        columns: Panels in a row.
        height: Inches a row.
        narrow: Whether the figure fits one column of a paper.
    """
    figure = Figure(figsize=(COLUMN if narrow else TEXT, 0.55 + height * lines), layout="constrained")
    return figure, figure.subplots(lines, columns, squeeze=False)


def panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels in rows of at most four, `height` inches each.

    A single panel is a little higher, because the legend below it is narrow and has more lines.
    """
    columns = per_row(count)
    figure, grid = blank(-(-count // columns), columns, height + 0.6 * (count == 1), narrow=count == 1)
    for unused in grid.flat[count:]:
        unused.remove()
    return figure, list(grid.flat[:count])


def per_row(count: int) -> int:
    """Return how many panels a row holds: at most four, the rows filled evenly."""
    return even_columns(count, PER_ROW)


def even_columns(count: int, most: int) -> int:
    """Return how many columns spread `count` things evenly over as few rows as `most` columns need."""
    rows = max(-(-count // most), 1)
    return max(-(-count // rows), 1)


def sentence(text: str) -> Figure:
    """Return a figure that says why there is none."""
    figure = Figure(figsize=(COLUMN, 1.0), layout="constrained")
    figure.text(0.5, 0.5, textwrap.fill(text, 48), ha="center", va="center")
    return figure


def title(axes: Axes, text: str, columns: int) -> None:
    """Set a title in letters small enough for a panel of which `columns` share the width."""
    width = COLUMN if columns == 1 else TEXT / columns - 0.25
    letters = width * 72 / 0.56  # at a size of one point; 0.56 is the mean width of a letter
    axes.set_title(text, fontsize=min(8.0, letters / len(text)))


def outer_labels(axes_list: list[Axes], x: str, y: str) -> None:
    """Label the lowest panel of each column and the first of each row."""
    columns = per_row(len(axes_list))
    for number, axes in enumerate(axes_list):
        lowest = number + columns >= len(axes_list)
        axes.set(xlabel=x if lowest else "", ylabel="" if number % columns else y)


def legend(figure: Figure, axes_list: list[Axes], heading: str | None = None) -> None:
    """Put one legend of everything drawn below the panels, no wider than they; the figure grows by its height."""
    found: dict[str, Any] = {}
    for axes in axes_list:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = [textwrap.fill(label, int((figure.get_figwidth() - BESIDE_LABEL) / LETTER)) for label in found]
    columns = _legend_columns(labels, figure.get_figwidth())
    lines = -(-len(labels) // columns) + sum(label.count("\n") for label in labels) + (heading is not None)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * max(0, lines - 2))
    place = {"loc": "outside lower center", "ncols": columns, "title": heading, "title_fontsize": 7.5}
    figure.legend(found.values(), labels, **place)


def _legend_columns(labels: list[str], width: float) -> int:
    """Return the most columns, up to five, in which the labels stand within the width, filled downwards."""
    for most in range(5, 1, -1):
        columns = even_columns(len(labels), most)
        rows = max(-(-len(labels) // columns), 1)
        longest = [max(map(len, labels[start : start + rows])) for start in range(0, len(labels), rows)]
        if sum(BESIDE_LABEL + LETTER * letters for letters in longest) <= width:
            return columns
    return 1
