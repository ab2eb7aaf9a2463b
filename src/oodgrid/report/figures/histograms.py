"""Why is it mistaken? Densities of ID and OOD scores of one method and score, a panel an OOD set."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oodgrid.report import canvas, names
from oodgrid.report.figures.chosen import Curve, choice, curves_of, why_none
from oodgrid.report.figures.roc import numbers
from oodgrid.report.figures.study import Study

ID_COLOUR, OOD_COLOUR = names.BLUE, names.ORANGE


def draw(study: Study, width: float) -> Figure:
    """Return the densities, all on one range of scores."""
    pair, curves = curves_of(study)
    if pair is None or not curves:
        return canvas.sentence(f"No histograms: {why_none(study, pair)}", width)
    most = 4 if width > canvas.COLUMN else 2
    figure, panels = canvas.panels(len(curves), width, most, 1.15, sharex=True)
    columns = canvas.even_columns(len(curves), most)
    limits = _limits(list(curves.values()))
    labels = [f"{name} ({study.sets[name]})" for name in curves]
    canvas.titles(panels, labels, (width - 0.2) / columns - 0.1, 7.0)
    for number, (axes, row) in enumerate(zip(panels, curves.values(), strict=True)):
        _histogram(axes, row)
        axes.set(xlim=limits, yticks=[])
        axes.xaxis.set_major_locator(MaxNLocator(3, prune="upper"))
        axes.tick_params(axis="x", labelsize=6, labelbottom=number + columns >= len(curves))
    text = choice(study, pair)
    canvas.legend(figure, canvas.legend_of(panels), text)
    return figure


def _histogram(axes: Axes, row: Curve) -> None:
    for name, label, colour in (("hist_id", "ID", ID_COLOUR), ("hist_ood", "OOD", OOD_COLOUR)):
        colours = {"facecolor": (colour, 0.25), "edgecolor": colour}
        axes.stairs(row[name], row["hist_edges"], fill=True, linewidth=0.9, label=label, **colours)
    line = {"color": names.BLACK, "linewidth": 0.7, "linestyle": (0, (3, 2)), "label": "95 % ID recall"}
    axes.axvline(row["threshold95"], ymax=0.66, **line)
    axes.set_ylim(0, 1.55 * max(*row["hist_id"], *row["hist_ood"], 1e-9))  # the upper third is for the numbers
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter("{x:.4g}")
    axes.text(0.02, 0.99, numbers(row), transform=axes.transAxes, va="top", fontsize=6, linespacing=1.15)


def _limits(rows: list[Curve]) -> tuple[float, float]:
    """Return the range of scores that holds all but 0.1 % of each tail of every ID and OOD set."""
    low, high = [], []
    for row in rows:
        edges = np.asarray(row["hist_edges"])
        for name in ("hist_id", "hist_ood"):
            mass = np.cumsum(np.asarray(row[name], dtype=float) * np.diff(edges))
            first, last = np.searchsorted(mass, [0.001 * mass[-1], 0.999 * mass[-1]])
            low.append(edges[first])
            high.append(edges[last + 1])
    return min(low), max(high)
