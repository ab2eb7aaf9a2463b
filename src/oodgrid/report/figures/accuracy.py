"""What does OOD detection cost? Mean AUROC against ID accuracy, a point a method with both intervals."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oodgrid.report import canvas, names
from oodgrid.report.figures.study import NOTHING, TITLES, Pair, Row, Study


def draw(study: Study, width: float) -> Figure:
    """Return near beside far, each method at its largest shots and at its best score."""
    accuracies = {
        method: row for (method, _), row in study.rows("id", "id_accuracy").items() if row["mean"] is not None
    }
    pairs = [pair for pair in study.best_of("method") if pair[0] in accuracies]
    if not pairs:
        return canvas.sentence(f"No AUROC against ID accuracy: {NOTHING}", width)
    figure, panels = canvas.panels(len(study.kinds), width, 2 if width > canvas.COLUMN else 1, 2.1, sharex=True)
    for axes, kind in zip(panels, study.kinds, strict=True):
        _panel(axes, study, pairs, kind, accuracies)
        canvas.title(axes, f"{TITLES[kind]}: mean AUROC, %", 2.7)
        axes.set_xlabel("ID accuracy, %" if width > canvas.COLUMN or axes is panels[-1] else "")
    text = "Each method under its best score by overall AUROC: a choice by OOD results. Bars: 95 % intervals." + (
        " Lines: zero-shot." if "zero_shot" in accuracies else ""
    )
    canvas.legend(figure, canvas.legend_of(panels), text)
    return figure


def _panel(axes: Axes, study: Study, pairs: list[Pair], kind: str, accuracies: dict[str, Row]) -> None:
    rows = study.rows(kind)
    for pair in pairs:
        if not (row := rows.get(pair)):
            continue
        look, of_method = study.legend.looks[pair[0]], accuracies[pair[0]]
        x, y = 100 * of_method["mean"], 100 * row["mean"]
        bars = {"color": look.colour, "elinewidth": 0.5, "linestyle": "none", "markersize": 4.5}
        axes.errorbar(x, y, _reach(row), _reach(of_method), label=study.title(pair), **bars, **names.points(look))
        if pair[0] == "zero_shot":
            line = {"color": names.BLACK, "linewidth": 0.5, "linestyle": (0, (4, 3)), "zorder": 1}
            axes.axhline(y, **line)
            axes.axvline(x, **line)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.grid(True)


def _reach(row: Row) -> list[list[float]] | None:
    """Return how far the interval reaches below and above the mean."""
    if row["lo"] is None or row["hi"] is None:
        return None
    return [[max(0.0, 100 * (row["mean"] - row["lo"]))], [max(0.0, 100 * (row["hi"] - row["mean"]))]]
