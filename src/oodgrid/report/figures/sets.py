"""Where does it fail? A row an OOD set, the hardest of a kind first, and the FPR95 of every method on a log axis."""

from __future__ import annotations

from math import floor, log10
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from oodgrid.report import canvas, names, select
from oodgrid.report.figures.study import NOTHING, Pair, Row, Study

METRIC = "fpr95_id_pos"
BELOW = 0.3  # of the lowest decade: where rates below it stand
DENSE = 4.0  # percent: an axis that starts at no less has ticks within a decade
COLOURED = 6  # methods that are told apart; the others are grey


def draw(study: Study, width: float) -> Figure:
    """Return the dots of each method at its best score, and of zero-shot with MCM."""
    pairs = study.best_of("method")
    rows = {name: study.rows("set", METRIC, name) for name in study.sets}
    order = _hardest_first(study, pairs, rows)
    if not order or not pairs:
        return canvas.sentence(f"No FPR95 by OOD set: {NOTHING}", width)
    if study.reference and study.reference not in pairs:
        pairs = [*pairs, study.reference]
    coloured = [pair for pair in pairs if pair != study.reference][:COLOURED]
    figure, grid = canvas.blank(1, 1, width, 0.6 + 0.32 * len(order))
    axes = grid[0, 0]
    drawn = [rows[name][pair] for name in order for pair in pairs if pair in rows[name]]
    lowest = _lowest_decade([row["mean"] for row in drawn])
    for place, name in enumerate(order):
        _dots(axes, study, place, rows[name], pairs, coloured, lowest)
    least = min((100 * row["lo"] for row in drawn if row["lo"] is not None), default=lowest)
    rate = min((100 * row["mean"] for row in drawn), default=0.0)
    left = 0.9 * max(min(least, rate), lowest / 2) if rate >= lowest else None
    _axes(axes, study, order, lowest, left, width)
    others = len(pairs) > len(coloured) + (study.reference in pairs)
    samples = canvas.legend_of([axes])
    if others:
        samples["other methods"] = canvas.sample(color=canvas.OTHERS, marker="o", markersize=3, linestyle="none")
    text = "Each method under its best score by overall AUROC: a choice by OOD results. Bars: 95 % intervals."
    canvas.legend(figure, samples, text)
    return figure


def _hardest_first(study: Study, pairs: list[Pair], rows: dict[str, dict[Pair, Row]]) -> list[str]:
    """Return the OOD sets that have results, near before far, each from the highest median FPR95 to the lowest."""
    medians = {
        name: median(values)
        for name, of_set in rows.items()
        if (values := [of_set[pair]["mean"] for pair in pairs if pair in of_set and of_set[pair]["mean"] is not None])
    }
    return sorted(medians, key=lambda name: (select.AVERAGED.index(study.sets[name]), -medians[name]))


def _lowest_decade(rates: list[float]) -> float:
    """Return the power of ten, in percent, at or below the lowest rate that is not zero: from 0.01 to 10."""
    positive = [100 * rate for rate in rates if rate]
    return 10.0 ** np.clip(floor(log10(min(positive))), -2, 1) if positive else 1.0


def _dots(
    axes: Axes, study: Study, place: int, rows: dict[Pair, Row], pairs: list[Pair], coloured: list[Pair], lowest: float
) -> None:
    """Draw one row of dots, each a little lower, so that none hides another; rates below the axis at its end."""
    heights = np.linspace(-0.32, 0.32, max(len(pairs), 2))
    end = lowest * BELOW
    for pair, height in zip(pairs, heights, strict=False):
        if not (row := rows.get(pair)):
            continue
        x, y = max(100 * row["mean"], end), place + height
        if pair not in coloured and pair != study.reference:
            axes.plot(x, y, "o", color=canvas.OTHERS, markersize=2.6, markeredgewidth=0, zorder=1)
            continue
        look = study.legend.looks[pair[0]]
        colour = names.BLACK if pair == study.reference else look.colour
        if row["lo"] is not None:
            ends = [max(100 * row[name], end) for name in ("lo", "hi")]
            axes.plot(ends, [y, y], color=colour, linewidth=0.6, zorder=2)
        points = {"marker": "|", "markeredgewidth": 1.4, "markersize": 6} if pair == study.reference else {
            **names.points(look), "markersize": 4}  # fmt: skip
        axes.plot(x, y, color=colour, linestyle="none", label=study.title(pair), zorder=3, **points)


def _axes(axes: Axes, study: Study, order: list[str], lowest: float, left: float | None, width: float) -> None:
    """Set the axes. Where `left` is None, rates below the lowest decade have a place of their own at the left."""
    ticks = {tick: f"{tick:g}" for tick in (0.01, 0.1, 1, 10, 100) if tick >= lowest}
    if left is None:
        ticks = {lowest * BELOW: f"<{lowest:g}"} | ticks
    elif left > DENSE:
        ticks = {tick: f"{tick:g}" for tick in (5, 10, 20, 50, 100) if tick >= left}
    left = 0.6 * BELOW * lowest if (below := left is None) else left
    axes.set(xscale="log", xlim=(left, 115), ylim=(len(order) - 0.45, -0.55), xlabel=f"{names.FPR_ID}, %")
    axes.set_xticks(list(ticks), labels=list(ticks.values()))
    if below:
        axes.get_xticklabels()[0].set_ha("right")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    labels = zip(canvas.fit(order, 0.34 * width, canvas.SMALL), map(study.sets.get, order), strict=True)
    axes.set_yticks(range(len(order)), labels=[f"{name}\n{kind}" for name, kind in labels], fontsize=canvas.SMALL)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    for place in range(1, len(order)):
        axes.axhline(place - 0.5, color="0.9", linewidth=0.4, zorder=0)
