"""How did the method move ID and OOD? Angles before (zero-shot, image features as cached) and after, a row a method."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oodgrid.counts import counted
from oodgrid.report import canvas, names, select
from oodgrid.report.figures.study import Study

MISSING = "geometry.parquet is not there or empty: snakemake --forcerun score makes it from the features."
MOST = 45  # rows of both blocks
NAMED = 3  # methods that a note names
BETTER, WORSE = names.BLUE, names.ORANGE
BEFORE = {"color": names.BLACK, "linewidth": 0.7, "linestyle": (0, (4, 3))}
BLOCKS = {"prototypes": "zero_shot", "means": select.ANY}  # centres, and under which method they are as before
TITLES = {"prototypes": "Prototypes", "means": "Class means"}


class Panel(NamedTuple):
    """One measure: its title, its column and scope, and whether more of it sets ID and OOD apart."""

    title: str
    column: str
    scope: str
    more: bool


def draw(study: Study, width: float) -> Figure:
    """Return a block of rows for prototypes, and one for class means where a method changes image features."""
    frame = study.geometry
    scopes = [kind for kind in select.AVERAGED if len(frame) and kind in set(frame["scope"])]
    if not scopes:
        return canvas.sentence(f"No angles: {MISSING}", width)
    panels = [Panel("Dispersion", "dispersion", scopes[0], True), Panel("Compactness", "compactness", scopes[0], False)]
    panels += [Panel(f"Separation\n{kind}", "separation", kind, True) for kind in scopes]
    blocks = _blocks(frame, scopes[0])
    if not blocks:
        return canvas.sentence("No angles: no method has prototypes of its own or changes image features.", width)
    counts = [len(methods) for methods in blocks.values()]
    line = 0.165 if sum(counts) <= 24 else 0.125
    height = 0.5 + 0.3 * len(blocks) + line * sum(counts)
    ratios = {"height_ratios": [count + 0.6 for count in counts]}
    figure, grid = canvas.blank(len(blocks), len(panels), width, height, sharey="row", sharex=False, gridspec_kw=ratios)
    size = 6.5 if sum(counts) <= 24 else canvas.TINY
    for number, (lines, (centres, methods)) in enumerate(zip(grid, blocks.items(), strict=True)):
        for axes, panel in zip(lines, panels, strict=True):
            _panel(axes, frame.filter(pl.col("centres") == centres), methods, panel, BLOCKS[centres])
            if not number:
                axes.set_title(panel.title, fontsize=canvas.TINY if width <= canvas.COLUMN else 7.0)
        titles = canvas.fit((study.legend.methods.get(method, method) for method in methods), 0.27 * width, size)
        lines[0].set_yticks(range(len(methods)), labels=titles, fontsize=size)
        lines[0].set_ylim(len(methods) - 0.4, -0.6)
        lines[0].annotate(TITLES[centres], (0, 1), xycoords="axes fraction", xytext=(-4, 1), textcoords="offset points",
                          ha="right", fontsize=size, color=canvas.NOTE, fontweight="bold")  # fmt: skip
    canvas.legend(figure, _samples(study, frame), _text(study, frame, blocks))
    return figure


def _blocks(frame: pl.DataFrame, scope: str) -> dict[str, list[str]]:
    """Return the methods that have centres of their own, those of the largest separation first."""
    blocks, left = {}, MOST
    for centres, before in BLOCKS.items():
        rows = frame.filter(
            pl.col("centres") == centres, pl.col("scope") == scope, pl.col("status") == "ok", pl.col("method") != before
        )
        ranked = rows.sort("separation", descending=True, nulls_last=True, maintain_order=True)["method"].to_list()
        if ranked[:left]:
            blocks[centres] = ranked[:left]
            left -= len(blocks[centres])
    return blocks


def _panel(axes: Axes, frame: pl.DataFrame, methods: list[str], panel: Panel, before: str) -> None:
    rows = frame.filter(pl.col("scope") == panel.scope, pl.col("status") == "ok")
    angles = dict(rows.select("method", panel.column).rows())
    start = angles.get(before)
    if start is not None:
        axes.axvline(start, zorder=1, **BEFORE)
    for place, method in enumerate(methods):
        if (angle := angles.get(method)) is None:
            continue
        better = start is None or (angle > start if panel.more else angle < start)
        colour = BETTER if better else WORSE
        if start is not None:
            axes.plot([start, angle], [place, place], color=colour, linewidth=1.2, solid_capstyle="butt", zorder=2)
        face = colour if better else "white"
        axes.plot(angle, place, "o", markersize=3.6, markeredgecolor=colour, markerfacecolor=face, markeredgewidth=0.8,
                  zorder=3)  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(3 if axes.figure.get_figwidth() > canvas.COLUMN else 2, min_n_ticks=2))
    axes.margins(x=0.14)
    axes.tick_params(axis="x", labelsize=canvas.SMALL if axes.figure.get_figwidth() > canvas.COLUMN else canvas.TINY)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


def _samples(study: Study, frame: pl.DataFrame) -> dict[str, object]:
    dot = {"marker": "o", "markersize": 3.6, "linewidth": 1.2}
    samples = {
        "better (of compactness: smaller)": canvas.sample(color=BETTER, **dot),
        "worse": canvas.sample(color=WORSE, markerfacecolor="white", **dot),
    }
    return samples | {"before: zero-shot, and features as cached": canvas.sample(**BEFORE)}


def _text(study: Study, frame: pl.DataFrame, blocks: dict[str, list[str]]) -> str:
    """Return what the angles are of, and which methods move nothing that has an angle."""
    none = frame.filter(pl.col("centres") == "prototypes", pl.col("status") != "ok")
    skipped = none["method"].unique(maintain_order=True)
    moved = {method for methods in blocks.values() for method in methods}
    unmoved = [study.legend.methods.get(method, method) for method in skipped if method not in moved]
    every = frame.filter(pl.col("status") == "ok", pl.col("method") != "zero_shot", pl.col("method") != select.ANY)
    fewer = every.select("method", "centres").n_unique() - sum(map(len, blocks.values()))
    more = f" and {counted(len(unmoved) - NAMED, 'other')}" if len(unmoved) > NAMED else ""
    lines = [
        "Angles in degrees: between centres (dispersion), of ID to the centre of its class (compactness), of OOD to "
        "its nearest centre less that of ID (separation). Test samples, largest shots, mean over seeds.",
        "" if "means" in blocks else "No method changes image features, so class means stay.",
        f"Without features or prototypes of their own: {', '.join(unmoved[:NAMED])}{more}." if unmoved else "",
        f"{counted(fewer, 'row of less separation is', 'rows of less separation are')} left out." if fewer > 0 else "",
    ]
    return " ".join(filter(None, lines))
