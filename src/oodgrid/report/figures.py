"""The figures of a pair of backbone and ID dataset: ROC, histograms, curves over shots, methods by scores.

Each plot takes a frame of one pair, as `select.one_pair` returns it, and returns a Figure; `canvas.save` alone
writes. No plot shows an OOD set whose classes overlap the ID classes, and none shows covariate shift.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from oodgrid import paths
from oodgrid.progress import progress
from oodgrid.report import canvas, names, select
from oodgrid.report.names import Legend

MANY_SCORES, LONG_NAME = 12, 20  # more names above columns, or longer ones, leave no room for the numbers
ID_COLOUR, OOD_COLOUR = names.BLUE, names.ORANGE
Pair = tuple[str, str]  # a method and a score
ACCURACY = "ID accuracy, %"
LOWEST_FPR = 0.001  # where the ROC's log axis starts
NOTHING = "no near or far OOD set of this pair has a result that may be shown."


def write_figures(
    metrics: pl.DataFrame, curves: pl.DataFrame, results: Path, experiment: str, overlaps: set[tuple[str, str]]
) -> None:
    """Draw every pair to <backbone>/<id_dataset>/{roc,histograms,shots,scores}.{pdf,svg,png} in the folder of figures.

    Args:
        metrics: The rows of metrics.parquet.
        curves: The rows of curves.parquet.
        results: The results folder.
        experiment: Name.
        overlaps: The (id_dataset, ood_dataset) pairs whose classes overlap: in no figure.
    """
    jobs = [(*pair, name) for pair in select.pairs(metrics) for name in paths.FIGURES]
    legend, folder = Legend.of(metrics), paths.report(results, experiment, "figures")
    for backbone, id_dataset, name in progress(jobs, desc="figures", unit="figure"):
        rows, drawn = (select.one_pair(frame, backbone, id_dataset, overlaps) for frame in (metrics, curves))
        canvas.save(_draw(name, rows, drawn, legend), folder / backbone / id_dataset / name)


def _draw(name: str, rows: pl.DataFrame, curves: pl.DataFrame, legend: Legend) -> Figure:
    score = select.default_score(rows)
    if name == "roc":
        return roc(curves, score, legend)
    if name == "histograms":
        return histograms(curves, select.histogram_rows(rows, score), legend)
    return shots(rows, score, legend) if name == "shots" else scores(rows, legend)


# ------------------------------------------------------------------------------------------------------- ROC


@canvas.styled
def roc(curves: pl.DataFrame, score: str, legend: Legend | None = None) -> Figure:
    """Draw ROC curves: a panel an OOD set, a line a method, ID recall over FPR (ID positive, log scale from 0.1 %).

    The marker of a method stands at its operating point of 95 % ID recall.

    Args:
        curves: One pair's curves.
        score: The score to draw.
        legend: Titles and looks; by default as if the experiment had no others than these.
    """
    legend = legend or Legend.of(curves)
    shown = select.shown_sets(curves).filter(pl.col("score") == score)
    sets = select.titled_sets(shown)
    if not sets:
        return canvas.sentence(f"No ROC curves: {NOTHING}")
    figure, panels = canvas.panels(len(sets), 1.75)
    for axes, (name, title) in zip(panels, sets.items(), strict=True):
        for row in shown.filter(pl.col("ood_dataset") == name).iter_rows(named=True):
            _roc_line(axes, row, legend)
        axes.axhline(95, color=names.GREY, linewidth=0.6, linestyle=(0, (4, 3)), label="95 % ID recall")
        axes.set(xscale="log", xlim=(100 * LOWEST_FPR, 100), ylim=(0, 101), yticks=(0, 25, 50, 75, 95))
        axes.set_xticks((0.1, 1, 10, 100), labels=("0.1", "1", "10", "100"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.get_xticklabels()[0].set_ha("left")  # or it runs into the neighbour's last label
        axes.get_xticklabels()[-1].set_ha("right")
        axes.grid(True)
        canvas.title(axes, title, canvas.per_row(len(sets)))
    canvas.outer_labels(panels, "FPR (ID positive), %", "ID recall, %")
    canvas.legend(figure, panels, f"Score: {legend.scores[score]}")
    return figure


def _roc_line(axes: Axes, row: dict[str, Any], legend: Legend) -> None:
    fpr, tpr = _on_log_axis(np.asarray(row["roc_fpr"], dtype=float), np.asarray(row["roc_tpr"], dtype=float))
    operating = int(np.argmin(np.abs(fpr - max(row["fpr95_id_pos"], LOWEST_FPR)) + np.abs(tpr - 0.95)))
    look = legend.looks[row["method"]]
    line = {"color": look.colour, "linestyle": look.line, "label": legend.methods[row["method"]]}
    axes.plot(100 * fpr, 100 * tpr, clip_on=False, markevery=[operating], **line, **names.points(look))


def _on_log_axis(fpr: np.ndarray, tpr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the curve (P,), (P,) from the lowest rate drawn, with points between its own.

    Between its points a ROC curve is straight on linear axes; drawn straight on a log axis, the long step of
    tied scores would promise far too high a recall.
    """
    between = np.geomspace(LOWEST_FPR, 1, 120)
    x = np.concatenate([fpr, between])
    y = np.concatenate([tpr, np.interp(between, fpr, tpr)])
    order = np.lexsort((y, x))
    drawn = order[x[order] >= LOWEST_FPR]
    return x[drawn], y[drawn]


# ------------------------------------------------------------------------------------------------ histograms


@canvas.styled
def histograms(curves: pl.DataFrame, chosen: list[Pair], legend: Legend | None = None) -> Figure:
    """Draw the densities of ID and OOD scores: a row a (method, score), a column an OOD set.

    More than four OOD sets wrap into blocks of rows; three blocks leave room for two (method, score) each.

    Args:
        curves: One pair's curves.
        chosen: The (method, score) pairs to draw; those without curves are passed over.
        legend: Titles; by default as if the experiment had no others than these.
    """
    legend = legend or Legend.of(curves)
    shown = select.shown_sets(curves)
    drawn = set(shown.select("method", "score").rows())
    sets = select.titled_sets(shown)
    columns = canvas.per_row(len(sets))
    blocks = [list(sets)[start : start + columns] for start in range(0, len(sets), columns)]
    chosen = [pair for pair in chosen if pair in drawn][: 4 if len(blocks) < 3 else 2]
    if not chosen:
        return canvas.sentence(f"No histograms: {NOTHING}")
    figure, grid = canvas.blank(len(blocks) * len(chosen), columns, 1.0, narrow=columns == 1)
    for number, block in enumerate(blocks):
        lines = grid[number * len(chosen) :][: len(chosen)]
        for axes, name in zip(lines[0], block, strict=False):
            canvas.title(axes, sets[name], columns)
        for line, pair in zip(lines, chosen, strict=True):
            _histogram_line(line, shown, pair, block)
            line[0].set_ylabel(f"{legend.methods[pair[0]]}\n{legend.scores[pair[1]]}", fontsize=7)
    canvas.legend(figure, [axes for axes in grid.flat if axes.patches][:1])
    return figure


def _histogram_line(line: np.ndarray, shown: pl.DataFrame, pair: Pair, block: list[str]) -> None:
    """Fill one row of panels: the OOD sets of `block` under one (method, score), on one range of scores."""
    method, score = pair
    of_pair = shown.filter(pl.col("method") == method, pl.col("score") == score)
    rows = {row["ood_dataset"]: row for row in of_pair.iter_rows(named=True)}
    limits = _limits(list(rows.values()))
    for number, axes in enumerate(line):
        axes.set(xlim=limits, yticks=[])
        axes.spines["left"].set_visible(False)
        if number < len(block) and block[number] in rows:
            _histogram(axes, rows[block[number]])
        else:
            axes.spines["bottom"].set_visible(False)
            axes.set_xticks([])


def _histogram(axes: Axes, row: dict[str, Any]) -> None:
    for name, label, colour in (("hist_id", "ID", ID_COLOUR), ("hist_ood", "OOD", OOD_COLOUR)):
        colours = {"facecolor": (colour, 0.25), "edgecolor": colour}
        axes.stairs(row[name], row["hist_edges"], fill=True, linewidth=0.9, label=label, **colours)
    line = {"color": names.BLACK, "linewidth": 0.7, "linestyle": (0, (3, 2)), "label": "95 % ID recall"}
    axes.axvline(row["threshold95"], ymax=0.66, **line)
    axes.set_ylim(0, 1.55 * max(*row["hist_id"], *row["hist_ood"]))  # the upper third is for the numbers
    axes.xaxis.set_major_locator(MaxNLocator(4, prune="upper"))
    axes.xaxis.set_major_formatter("{x:.4g}")
    axes.tick_params(axis="x", labelsize=6)
    auroc, fpr = (select.percent(row[name], digits=1) for name in ("auroc", "fpr95_id_pos"))
    numbers = f"AUROC {auroc}\n{names.FPR_ID} {fpr}"
    axes.text(0.02, 0.99, numbers, transform=axes.transAxes, va="top", fontsize=6, linespacing=1.15)


def _limits(rows: list[dict[str, Any]]) -> tuple[float, float]:
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


# ----------------------------------------------------------------------------------------- curves over shots


@canvas.styled
def shots(rows: pl.DataFrame, score: str, legend: Legend | None = None) -> Figure:
    """Draw ID accuracy and mean near and far AUROC over shots: a line a method, a band of ± one std over seeds.

    With a single number of shots there is no line to draw, and AUROC stands over ID accuracy instead.

    Args:
        rows: One pair, as `select.one_pair` returns it.
        score: The score whose AUROC is drawn.
        legend: Titles and looks; by default as if the experiment had no others than these.
    """
    legend = legend or Legend.of(rows)
    frames = _over_shots(rows.filter(pl.col("method") != select.ANY), score, legend.scores[score])
    counts = sorted({count for frame in frames.values() for count in frame["shots"] if count})
    if not frames:
        return canvas.sentence(f"No curves over shots: {NOTHING}")
    if len(counts) < 2:
        return _accuracy_against_auroc(frames, legend)
    figure, panels = canvas.panels(len(frames), 2.0)
    for axes, (title, frame) in zip(panels, frames.items(), strict=True):
        for method in select.names(frame, "method"):
            _shots_line(axes, legend, frame.filter(pl.col("method") == method).sort("shots"))
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, labels=[str(count) for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Shots a class")
        axes.grid(True, axis="y")
        canvas.title(axes, title, len(frames))
    canvas.legend(figure, panels)
    return figure


def _over_shots(rows: pl.DataFrame, score: str, title: str) -> dict[str, pl.DataFrame]:
    """Return for each panel the mean and std over seeds by method and shots, as fractions."""
    frames = {ACCURACY: select.over_seeds(select.id_accuracies(rows), ["method", "shots"], "id_accuracy")}
    means = select.kind_means(rows.filter(pl.col("score") == score), ["auroc"])
    for kind in select.AVERAGED:
        panel = f"{names.KINDS[kind]}: mean AUROC ({title}), %"
        frames[panel] = select.over_seeds(select.of_kind(means, kind), ["method", "shots"], "auroc")
    drawn = {title: frame.drop_nulls("mean") for title, frame in frames.items()}
    return {title: frame for title, frame in drawn.items() if len(frame)}


def _shots_line(axes: Axes, legend: Legend, frame: pl.DataFrame) -> None:
    look, label = legend.looks[frame["method"][0]], legend.methods[frame["method"][0]]
    mean, std = 100 * frame["mean"].to_numpy(), 100 * frame["std"].fill_null(0.0).to_numpy()
    line = {"color": look.colour, "linestyle": look.line, **names.points(look)}
    if frame["shots"].max() == 0:
        at_right_end = {"markevery": [1], "clip_on": False}
        axes.axhline(mean[0], label=label, **line, **at_right_end)
        return
    axes.plot(frame["shots"], mean, label=label, **line)
    if std.any():
        axes.fill_between(frame["shots"], mean - std, mean + std, color=look.colour, alpha=0.15, linewidth=0)


def _accuracy_against_auroc(frames: dict[str, pl.DataFrame], legend: Legend) -> Figure:
    accuracy = frames.get(ACCURACY)
    aurocs = {title: frame for title, frame in frames.items() if title != ACCURACY}
    if accuracy is None or not aurocs:
        return canvas.sentence("No curves over shots: there is a single number of shots, and no pair of ID accuracy "
                               "and AUROC to draw instead.")  # fmt: skip
    figure, panels = canvas.panels(len(aurocs), 2.3)
    for axes, (title, frame) in zip(panels, aurocs.items(), strict=True):
        both = frame.join(accuracy, on=["method", "shots"], suffix="_accuracy", maintain_order="left")
        for row in both.with_columns(pl.col("std", "std_accuracy").fill_null(0.0)).iter_rows(named=True):
            look, method = legend.looks[row["method"]], legend.methods[row["method"]]
            x, y, spread_x, spread_y = (100 * row[name] for name in ("mean_accuracy", "mean", "std_accuracy", "std"))
            label = f"{method}, {row['shots']} shots" if row["shots"] else method
            bars = {"linestyle": "none", "elinewidth": 0.6, "markersize": 5}
            axes.errorbar(x, y, spread_y, spread_x, color=look.colour, label=label, **bars, **names.points(look))
        axes.set_xlabel(ACCURACY)
        axes.grid(True)
        canvas.title(axes, title, len(aurocs))
    canvas.legend(figure, panels)
    return figure


# ----------------------------------------------------------------------------------------- methods by scores


@canvas.styled
def scores(rows: pl.DataFrame, legend: Legend | None = None) -> Figure:
    """Draw mean AUROC over near and over far OOD: methods, at their largest shots, against scores.

    A row is a method; with many scores it is a score, for names read better beside a row than above a column.
    """
    means = select.kind_means(select.at_largest_shots(rows), ["auroc"])
    means = select.over_seeds(means, ["method", "score", "ood_kind"], "auroc").drop_nulls("mean")
    kinds = [kind for kind in select.AVERAGED if kind in means["ood_kind"]]
    if not kinds:
        return canvas.sentence(f"No comparison of scores: {NOTHING}")
    legend = legend or Legend.of(rows)
    methods = {name: legend.methods[name] for name in select.names(rows, "method")}
    scored = {name: legend.scores[name] for name in select.names(rows, "score")}
    turned = len(scored) > MANY_SCORES or max(map(len, scored.values())) > LONG_NAME
    lines, columns = (scored, methods) if turned else (methods, scored)
    stacked = len(columns) > 8 and not turned
    shape = (len(kinds), 1) if stacked else (1, len(kinds))
    narrow = len(kinds) == 1 and len(columns) < 6
    figure, panels = canvas.blank(*shape, 0.35 + (0.15 if turned else 0.2) * len(lines), narrow=narrow)
    run = set(rows.select("method", "score").rows())
    for number, (axes, kind) in enumerate(zip(panels.flat, kinds, strict=True)):
        found = select.of_kind(means, kind).select("method", "score", "mean").rows()
        values = {(method, score): 100 * mean for method, score, mean in found}
        cells = [[(column, line) if turned else (line, column) for column in columns] for line in lines]
        _heat_map(axes, values, cells, run)
        axes.set_yticks(range(len(lines)), labels=[title if stacked or not number else "" for title in lines.values()])
        slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(columns)), labels=list(columns.values()), **slanted)
        axes.set_title(f"{names.KINDS[kind]}: mean AUROC, %")
    return figure


def _heat_map(axes: Axes, values: dict[Pair, float], cells: list[list[Pair]], run: set[Pair]) -> None:
    """Write values on cells that darken from the lowest to the highest; `--` where a run gave no number."""
    grid = np.array([[values.get(cell, np.nan) for cell in line] for line in cells])
    low, high = np.nanmin(grid), np.nanmax(grid)
    reach = max(high - low, 1.0)
    axes.imshow(grid, aspect="auto", vmin=low - 0.1 * reach, vmax=high + 0.2 * reach)
    for (line, column), value in np.ndenumerate(grid):
        missing = "--" if cells[line][column] in run else ""
        text = missing if np.isnan(value) else f"{value:.1f}"
        colour = "white" if value > low + 0.7 * reach else "black"
        axes.text(column, line, text, ha="center", va="center", fontsize=6.5, color=colour)
    axes.tick_params(length=0)
    axes.set_facecolor("0.94")
    axes.spines[:].set_visible(False)
