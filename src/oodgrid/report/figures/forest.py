"""By how much, how surely? A row a method at its best score, sorted, with intervals; near beside far."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oodgrid.counts import counted
from oodgrid.report import canvas, names
from oodgrid.report.figures.study import NOTHING, OVERALL, TITLES, Pair, Study

WITHIN, BEYOND = names.BLUE, names.GREY  # of rows within noise of the best, and of the others
MOST = 60  # rows of a page


def draw(study: Study, width: float) -> Figure:
    """Return the forest plot of methods, each at its best score."""
    return forest(study, study.best_of("method"), width, "Each method under its best score by overall AUROC")


def forest(study: Study, pairs: list[Pair], width: float, choice: str) -> Figure:
    """Return a forest plot.

    Args:
        study: What is drawn from.
        pairs: Methods and scores, from the highest row to the lowest; past 60 they are left out and counted.
        width: Inches.
        choice: How the pairs were chosen, in words.
    """
    if not pairs:
        return canvas.sentence(f"No forest plot: {NOTHING}", width)
    shown, added, fewer = _with_best(study, pairs)
    size = 6.5 if len(shown) <= 24 else canvas.TINY
    labels = canvas.stacked(map(study.title, shown), 0.36 * width, size, most=24)
    height = 0.68 + len(shown) * (
        0.115 if len(shown) > 24 else 0.24 if any("\n" in label for label in labels) else 0.165
    )
    figure, grid = canvas.blank(1, len(study.kinds), width, height, sharey=True)
    for axes, kind in zip(grid.flat, study.kinds, strict=True):
        _panel(axes, study, shown, kind)
        canvas.title(axes, TITLES[kind], 0.6 * width / len(study.kinds))
        axes.set_xlabel("Mean AUROC, %")
    grid[0, 0].set_yticks(range(len(shown)), labels=labels, fontsize=size)
    grid[0, 0].set_ylim(len(shown) - 0.4, -0.6)
    left_out = f" {counted(fewer, 'lower row is', 'lower rows are')} left out." if fewer else ""
    best = f" Also the best of all rows: {'; '.join(added)}." if added else ""
    text = f"{choice}: a choice by OOD results, which flatters by a little.{best}{left_out}"
    canvas.legend(figure, _samples(study), text)
    return figure


def _with_best(study: Study, pairs: list[Pair]) -> tuple[list[Pair], list[str], int]:
    """Return the rows of a page, the added ones of them in words, and how many are left out.

    The best of near or of far is the best of all methods and scores, which need not be among rows chosen by overall
    AUROC; without it a row would be called worse than something that is not shown.
    """
    best_of: dict[Pair, list[str]] = {}
    for kind in study.kinds:
        for pair in study.compared("best", kind).filter("is_best").select("method", "score").rows():
            if pair in study.rows(kind):
                best_of.setdefault(pair, []).append(kind)
    means = [study.rows(scope) for scope in (OVERALL, *study.kinds)]
    added = [pair for pair in best_of if pair not in pairs]
    heights = {pair: next((rows[pair]["mean"] for rows in means if pair in rows), 0.0) for pair in [*pairs, *added]}
    every = sorted(heights, key=lambda pair: -heights[pair])
    others = [pair for pair in every if pair not in best_of][: MOST - len(best_of)]
    shown = [pair for pair in every if pair in best_of or pair in others]
    words = [f"{study.title(pair)} ({' and '.join(best_of[pair])})" for pair in added]
    return shown, words, len(every) - len(shown)


def _panel(axes: Axes, study: Study, pairs: list[Pair], kind: str) -> None:
    rows, within = study.rows(kind), study.best_set(kind)
    for place, pair in enumerate(pairs):
        if not (row := rows.get(pair)):
            continue
        colour = WITHIN if pair in within else BEYOND
        mean, spread = row["mean"], row["seed_sd"]
        seeds = None if spread is None else (max(mean - spread, 0.0), min(mean + spread, 1.0))
        for ends, thickness in (((row["lo"], row["hi"]), 0.8), (seeds, 2.4)):
            if ends is not None and None not in ends:
                axes.plot([100 * end for end in ends], [place, place], color=colour, linewidth=thickness,
                          solid_capstyle="butt", zorder=2)  # fmt: skip
        face = colour if pair in within else "white"
        axes.plot(100 * mean, place, "o", markersize=3.6, markeredgecolor=colour, markerfacecolor=face,
                  markeredgewidth=0.8, zorder=3)  # fmt: skip
    if study.reference in rows:
        axes.axvline(100 * rows[study.reference]["mean"], color=names.BLACK, linewidth=0.7, linestyle=(0, (4, 3)))
    axes.xaxis.set_major_locator(MaxNLocator(4 if axes.figure.get_figwidth() > canvas.COLUMN else 3, min_n_ticks=2))
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


def _samples(study: Study) -> dict[str, object]:
    samples = {
        "not distinguishable from the best": canvas.sample(color=WITHIN, marker="o", markersize=3.6, linestyle="none"),
        "distinguishable": canvas.sample(color=BEYOND, marker="o", markersize=3.6, linestyle="none",
                                         markerfacecolor="white"),
        "95 % interval": canvas.sample(color=BEYOND, linewidth=0.8),
    }  # fmt: skip
    if any(row["seed_sd"] is not None for kind in study.kinds for row in study.rows(kind).values()):
        samples["± one standard deviation over seeds"] = canvas.sample(color=BEYOND, linewidth=2.4)
    if study.reference in study.rows(OVERALL):
        samples[study.title(study.reference)] = canvas.sample(color=names.BLACK, linewidth=0.7, linestyle=(0, (4, 3)))
    return samples
