"""How does detection change with the shift? AUROC by semantic and covariate shift, a panel a score, its best method."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from oodgrid.counts import counted
from oodgrid.report import canvas
from oodgrid.report.figures.study import Pair, Study

NONE = "grades.parquet is empty: no cell has more than ten samples."
MOST = 8  # panels
AXES = ("semantic", "covariate")


def draw(study: Study, width: float) -> Figure:
    """Return one heat map for each score, those first whose AUROC is highest over all cells."""
    cells = study.grades.filter(pl.col("what") == "cell") if len(study.grades) else study.grades
    if cells.is_empty():
        return canvas.sentence(f"No graded shifts: {NONE}", width)
    pairs = _pairs(cells)
    shown = pairs[:MOST]
    side = int(cells.select("semantic", "covariate").to_numpy().max())
    most = 4 if width > canvas.COLUMN else 2
    columns = canvas.even_columns(len(shown), most)
    figure, panels = canvas.panels(len(shown), width, most, 0.86 * width / columns, sharex=True, sharey=True)
    values = 100 * cells["auroc"].to_numpy()
    scale = Normalize(values.min() - 0.5, values.max() + 0.5)
    size = min(canvas.SMALL, 68 * width / columns / (3.2 * side))
    canvas.titles(panels, map(study.title, shown), width / columns - 0.25, 7.0)
    for place, (axes, pair) in enumerate(zip(panels, shown, strict=True)):
        _map(axes, _of(cells, pair), scale, size)
        axes.tick_params(labelbottom=place + columns >= len(shown))
        axes.set_xlabel(_slopes(_of(study.grades, pair)), fontsize=canvas.TINY)
        if not place % columns:
            axes.set_ylabel("covariate shift", fontsize=canvas.TINY)
    canvas.note(figure, _text(len(pairs), cells))
    return figure


def _of(frame: pl.DataFrame, pair: Pair) -> pl.DataFrame:
    return frame.filter(pl.col("method") == pair[0], pl.col("score") == pair[1])


def _pairs(cells: pl.DataFrame) -> list[Pair]:
    """Return each score at the method of its highest mean over cells, the best score first."""
    means = cells.group_by("method", "score", maintain_order=True).agg(pl.col("auroc").mean())
    best = means.sort("auroc", descending=True, maintain_order=True).unique("score", keep="first", maintain_order=True)
    return best.select("method", "score").rows()


def _map(axes: Axes, cells: pl.DataFrame, scale: Normalize, size: float) -> None:
    """Colour the cells that are there, level 1 of both shifts at the lower left, and write the numbers that fit."""
    places = cells.select("covariate", "semantic").to_numpy() - 1
    shape = tuple(places.max(axis=0) + 1)
    grid = np.full(shape, np.nan)
    grid[tuple(places.T)] = 100 * cells["auroc"].to_numpy()
    axes.imshow(grid, aspect="auto", norm=scale, interpolation="nearest", origin="lower")
    for (row, column), value in np.ndenumerate(grid):
        if not np.isnan(value) and size >= canvas.TINY - 1.5:
            colour = "white" if scale(value) > 0.55 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center_baseline", fontsize=size, color=colour)
    axes.set(facecolor="0.94", xticks=range(shape[1]), yticks=range(shape[0]))
    axes.set_xticklabels(range(1, shape[1] + 1), fontsize=canvas.TINY)
    axes.set_yticklabels(range(1, shape[0] + 1), fontsize=canvas.TINY)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _slopes(rows: pl.DataFrame) -> str:
    """Return sensitivity in points a level, and correlation, along each axis."""
    lines = []
    for axis in AXES:
        slope, r = (rows.filter(what=what, axis=axis)["auroc"] for what in ("sensitivity", "correlation"))
        if len(slope) and slope[0] is not None:
            correlation = "" if r[0] is None else f", r {r[0]:.2f}"
            lines.append(f"{axis}: {100 * slope[0]:.1f}{correlation}")
    return "\n".join(lines)


def _text(scores: int, cells: pl.DataFrame) -> str:
    levels = [cells[axis].n_unique() for axis in AXES]
    left_out = f" {counted(scores - MOST, 'more score is', 'more scores are')} left out." if scores > MOST else ""
    return (
        f"AUROC in percent of all ID samples against the OOD samples of a cell: {levels[0]} levels of semantic shift "
        f"from left to right, {levels[1]} of covariate shift from below; cells of ten samples or fewer are grey. "
        f"Below: sensitivity, points a level, and correlation with the level. Largest shots, mean over seeds.{left_out}"
    )
