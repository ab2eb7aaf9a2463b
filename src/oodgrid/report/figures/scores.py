"""Which score for which method? Mean AUROC as one heat map, both sides sorted, on one scale.

Scores that do not depend on the method are a strip of their own, a cell across all methods. A method that changes
features has numbers of its own under them, above.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians, sin
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from oodgrid.report import canvas, select
from oodgrid.report.figures.study import NOTHING, OVERALL, TITLES, Study

LABELS, BAR = 0.24, 0.55  # share of the width for names of scores; inches for the scale
MAP_HEIGHT = 6.6  # inches of all rows at most
AROUND = 0.65  # inches above and below the rows, without the names of methods
SLANT = 35  # degrees, of names above wide columns
DIGIT = 0.64  # a digit's width, in letters' size
OF_ANY = "the same for methods that leave features alone"


def draw(study: Study, width: float) -> Figure:
    """Return the heat map: near beside far in text width, both as one mean in column width."""
    methods, scores, strip = _sorted(study)
    if not scores and not strip:
        return canvas.sentence(f"No comparison of scores: {NOTHING}", width)
    kinds = study.kinds if width > canvas.COLUMN else [OVERALL]
    row = min(0.17, MAP_HEIGHT / (len(scores) + len(strip)))
    heights = [row * len(part) for part in (scores, strip) if part]
    cell = (width * (1 - LABELS) - BAR) / len(kinds) / max(len(methods), 1)
    of_methods = _names(study, methods, cell)
    of_any = canvas.wrap(OF_ANY, cell * max(len(methods), 1), canvas.SMALL) if strip else []
    around = AROUND + (of_methods.height if scores else 0) + canvas.NOTE_LINE * len(of_any[1:])
    figure, grid = canvas.blank(len(heights), len(kinds), width, around + sum(heights), height_ratios=heights)
    scale, extend = _scale([mean["mean"] for kind in kinds for mean in study.rows(kind).values()])
    size = min(6.0, row * 72 * 0.75, cell * 72 / (4 * DIGIT))
    for column, kind in zip(grid.T, kinds, strict=True):
        parts = iter(column)
        if scores:
            axes = next(parts)
            _map(axes, study, kind, methods, scores, scale, size)
            of_methods.write(axes)
            canvas.title(axes, f"{TITLES[kind]}: mean AUROC, %", 0.75 * width / len(kinds))
        if strip:
            axes = next(parts)
            _map(axes, study, kind, [select.ANY], strip, scale, min(6.0, row * 72 * 0.75))
            axes.set_xlabel("\n".join(of_any), fontsize=canvas.SMALL)
    size_of_names = min(6.5, row * 72 * 0.8)
    every = canvas.fit((study.legend.scores[score] for score in (*scores, *strip)), LABELS * width - 0.1, size_of_names)
    parts = [part for part in (every[: len(scores)], every[len(scores) :]) if part]
    for axes, labels in zip(grid[:, 0], parts, strict=True):
        axes.set_yticks(range(len(labels)), labels=labels, fontsize=size_of_names)
    bar = figure.colorbar(grid[0, 0].images[0], ax=list(grid.flat), extend=extend, fraction=0.05, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    sizes = [size] * bool(scores) + [min(6.0, row * 72 * 0.75)] * bool(strip)
    framed, dotted = (any(_is_readable(each) == readable for each in sizes) for readable in (True, False))
    marked = "Framed or dotted" if framed and dotted else "Framed" if framed else "Dotted"
    bold = "; bold: nor from the best of all" * framed
    canvas.note(figure, f"{marked}: not distinguishable from the best score of its method{bold}.")
    return figure


def _sorted(study: Study) -> tuple[list[str], list[str], list[str]]:
    """Return methods, scores, and scores that do not depend on the method, each from the highest mean to the lowest.

    What has a number for less than half of the others stands last, for its mean is of other things.
    """
    means: dict[tuple[int, str], list[float]] = {}
    for (method, score), row in study.rows(OVERALL).items():
        if row["mean"] is not None:
            of_any = method == select.ANY
            means.setdefault((2 if of_any else 1, score), []).append(row["mean"])
            if not of_any:
                means.setdefault((0, method), []).append(row["mean"])
    most = {part: max(len(values) for (of, _), values in means.items() if of == part) for part, _ in means}
    order = sorted(means, key=lambda key: (2 * len(means[key]) < most[key[0]], -fmean(means[key])))
    methods, scores, strip = ([name for part, name in order if part == which] for which in range(3))
    return methods, scores, strip


def _scale(means: list[float]) -> tuple[Normalize, str]:
    """Return a scale of colours from the lowest to the highest mean; a few far below the others do not stretch it."""
    values = 100 * np.array([mean for mean in means if mean is not None])
    low, high = values.min(), values.max()
    floor = high - 2.5 * max(high - np.quantile(values, 0.1), 1.0)
    start = max(low, floor)
    return Normalize(start - 0.5, min(100.0, high + 0.15 * (high - start) + 0.5)), "min" if start > low else "neither"


def _map(
    axes: Axes, study: Study, kind: str, methods: list[str], scores: list[str], scale: Normalize, size: float
) -> None:
    """Colour the cells, and write the numbers that can be read, or dots; frame the best of each method."""
    rows, within, of_all = study.rows(kind), study.best_set(kind, "best_of_method"), study.best_set(kind)
    cells = [[rows.get((method, score)) for method in methods] for score in scores]
    grid = np.array([[100 * cell["mean"] if cell else np.nan for cell in line] for line in cells], dtype=float)
    axes.imshow(grid, aspect="auto", norm=scale, interpolation="nearest")
    readable = _is_readable(size)
    for (line, column), value in np.ndenumerate(grid):
        pair = (methods[column], scores[line])
        best = pair in within
        if not np.isnan(value) and (readable or best):
            text: dict[str, Any] = {"color": "white" if scale(value) > 0.55 else "black", "ha": "center"}
            if readable:
                weight = "bold" if pair in of_all else "normal"
                if best:
                    axes.add_patch(Rectangle((column - 0.46, line - 0.42), 0.92, 0.84, fill=False, linewidth=0.6,
                                             edgecolor=text["color"]))  # fmt: skip
                axes.text(column, line, f"{value:.1f}", va="center_baseline", fontsize=size, fontweight=weight, **text)
            else:
                axes.plot(column, line, "o", color=text["color"], markersize=1.6, markeredgewidth=0)
    axes.tick_params(length=0)
    axes.set(facecolor="0.94", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _is_readable(size: float) -> bool:
    """Return whether numbers of so many points can be read."""
    return size >= canvas.TINY - 0.5


@dataclass(frozen=True)
class _Names:
    """The methods above their columns, slanted, or upright where columns are narrow.

    Attributes:
        labels: As they are written.
        size: Of letters, in points.
        slanted: Whether they are.
    """

    labels: list[str]
    size: float
    slanted: bool

    @property
    def height(self) -> float:
        """Inches of the highest."""
        longest = max((canvas.width_of(label, self.size) for label in self.labels), default=0.0)
        return longest * (sin(radians(SLANT)) if self.slanted else 1)

    def write(self, axes: Axes) -> None:
        """Write them."""
        axes.xaxis.tick_top()
        turn = {"rotation": SLANT, "ha": "left", "rotation_mode": "anchor"} if self.slanted else {"rotation": 90}
        axes.set_xticks(range(len(self.labels)), labels=self.labels, fontsize=self.size, **turn)
        axes.tick_params(axis="x", length=0)


def _names(study: Study, methods: list[str], cell: float) -> _Names:
    """Return the names of methods above columns of so many inches."""
    size = max(4.5, min(6.5, cell * 72 * 0.85))
    return _Names(canvas.fit([study.legend.methods[method] for method in methods], 1.0, size), size, cell > 0.3)
