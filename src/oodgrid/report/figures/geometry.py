"""How did the method move ID and OOD? Angles before (zero-shot, image features as cached) and after, a row a method."""

from __future__ import annotations

from enum import Enum
from itertools import chain
from typing import Any, NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oodgrid.counts import counted
from oodgrid.report import canvas, names, select
from oodgrid.report.figures.study import NOTHING, Study

MISSING = "geometry.parquet is not there or empty: snakemake --forcerun score makes it from the features."
MOST = 45  # rows of both blocks
NAMED = 3  # methods that a note names
UNMOVED = 1e-9  # degrees
BEFORE = {"color": names.BLACK, "linewidth": 0.7, "linestyle": (0, (4, 3))}
BLOCKS = {"prototypes": "zero_shot", "means": select.ANY}  # centres, and under which method they are as before
TITLES = {"prototypes": "Prototypes", "means": "Class means"}


class Panel(NamedTuple):
    """One measure.

    Attributes:
        title: What a reader sees.
        column: Its column.
        scope: The kind of OOD; None of ID samples alone, whose angles are the same beside every OOD set.
        more: Whether more of it sets ID and OOD apart.
    """

    title: str
    column: str
    scope: str | None
    more: bool


class Change(Enum):
    """What became of an angle: its colour, and words for it."""

    BETTER = names.BLUE, "better (of compactness: smaller)"
    WORSE = names.ORANGE, "worse"
    NONE = names.GREY, "as before"
    FIRST = names.GREY, "nothing before"

    @property
    def look(self) -> dict[str, Any]:
        """Matplotlib's options of its dots."""
        colour, _ = self.value
        face = "white" if self is Change.WORSE else colour
        return {"color": colour, "marker": "o", "markersize": 3.6, "markerfacecolor": face, "markeredgewidth": 0.8}


def draw(study: Study, width: float) -> Figure:
    """Return a block of rows for prototypes, and one for class means where a method changes image features."""
    frame = study.geometry
    if frame.is_empty():
        return canvas.sentence(f"No angles: {MISSING}", width)
    scopes = [kind for kind in select.AVERAGED if kind in set(frame["scope"])]
    panels = [Panel("Dispersion", "dispersion", None, True), Panel("Compactness", "compactness", None, False)]
    panels += [Panel(f"Separation\n{kind}", "separation", kind, True) for kind in scopes]
    blocks = _blocks(frame, scopes)
    if not blocks:
        return canvas.sentence("No angles: no method has prototypes of its own or changes features.", width)
    counts = [len(methods) for methods in blocks.values()]
    line = 0.165 if sum(counts) <= 24 else 0.125
    height = 0.5 + 0.3 * len(blocks) + line * sum(counts)
    ratios = {"height_ratios": [count + 0.6 for count in counts]}
    figure, grid = canvas.blank(len(blocks), len(panels), width, height, sharey="row", sharex=False, gridspec_kw=ratios)
    size = 6.5 if sum(counts) <= 24 else canvas.TINY
    every = list(chain(*blocks.values()))
    fitted = canvas.fit((study.legend.methods.get(method, method) for method in every), 0.27 * width, size)
    titles = dict(zip(every, fitted, strict=True))
    changes: set[Change | None] = set()
    for number, (lines, (centres, methods)) in enumerate(zip(grid, blocks.items(), strict=True)):
        for axes, panel in zip(lines, panels, strict=True):
            changes |= _panel(axes, _worked(frame, panel.scope, centres), methods, panel, BLOCKS[centres])
            if not number:
                axes.set_title(panel.title, fontsize=canvas.TINY if width <= canvas.COLUMN else 7.0)
        lines[0].set_yticks(range(len(methods)), labels=[titles[method] for method in methods], fontsize=size)
        lines[0].set_ylim(len(methods) - 0.4, -0.6)
        lines[0].annotate(TITLES[centres], (0, 1), xycoords="axes fraction", xytext=(-4, 1), textcoords="offset points",
                          ha="right", fontsize=size, color=canvas.NOTE, fontweight="bold")  # fmt: skip
    canvas.legend(figure, _samples(changes), _text(study, frame, blocks, scopes))
    return figure


def _worked(frame: pl.DataFrame, scope: str | None, centres: str) -> pl.DataFrame:
    """Return the rows of some centres that have angles, over a kind of OOD; without one, the first of each method."""
    rows = frame.filter(pl.col("status") == "ok", pl.col("centres") == centres)
    return rows.filter(scope=scope) if scope else rows.unique("method", keep="first", maintain_order=True)


def _blocks(frame: pl.DataFrame, scopes: list[str]) -> dict[str, list[str]]:
    """Return the methods that have centres of their own, those first that set ID and OOD, or classes, most apart."""
    blocks, left = {}, MOST
    scope, column = (scopes[0], "separation") if scopes else (None, "dispersion")
    for centres, before in BLOCKS.items():
        rows = _worked(frame, scope, centres).filter(pl.col("method") != before)
        ranked = rows.sort(column, descending=True, nulls_last=True, maintain_order=True)["method"].to_list()
        if ranked[:left]:
            blocks[centres] = ranked[:left]
            left -= len(blocks[centres])
    return blocks


def _panel(axes: Axes, rows: pl.DataFrame, methods: list[str], panel: Panel, before: str) -> set[Change | None]:
    """Draw one measure of one block, and return what became of its angles; None where there is one from before."""
    angles = dict(rows.select("method", panel.column).rows())
    changes: set[Change | None] = set()
    if (start := angles.get(before)) is not None:
        axes.axvline(start, zorder=1, **BEFORE)
        changes.add(None)
    for place, method in enumerate(methods):
        if (angle := angles.get(method)) is None:
            continue
        change = _change(start, angle, panel.more)
        changes.add(change)
        if start is not None:
            axes.plot([start, angle], [place, place], color=change.value[0], linewidth=1.2, solid_capstyle="butt",
                      zorder=2)  # fmt: skip
        axes.plot(angle, place, zorder=3, **change.look)
    axes.xaxis.set_major_locator(MaxNLocator(3 if axes.figure.get_figwidth() > canvas.COLUMN else 2, min_n_ticks=2))
    axes.margins(x=0.14)
    axes.tick_params(axis="x", labelsize=canvas.SMALL if axes.figure.get_figwidth() > canvas.COLUMN else canvas.TINY)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    return changes


def _change(before: float | None, after: float, more: bool) -> Change:
    if before is None:
        return Change.FIRST
    if abs(after - before) < UNMOVED:
        return Change.NONE
    return Change.BETTER if (after > before) == more else Change.WORSE


def _samples(changes: set[Change | None]) -> dict[str, object]:
    samples = {change.value[1]: canvas.sample(linewidth=1.2, **change.look) for change in Change if change in changes}
    return samples | ({"before: zero-shot, and features as cached": canvas.sample(**BEFORE)} if None in changes else {})


def _text(study: Study, frame: pl.DataFrame, blocks: dict[str, list[str]], scopes: list[str]) -> str:
    """Return what the angles are of, and which methods move nothing that has an angle."""
    none = frame.filter(pl.col("centres") == "prototypes", pl.col("status") != "ok")
    skipped = none["method"].unique(maintain_order=True)
    moved = {method for methods in blocks.values() for method in methods}
    unmoved = [study.legend.methods.get(method, method) for method in skipped if method not in moved]
    every = frame.filter(pl.col("status") == "ok", pl.col("method") != "zero_shot", pl.col("method") != select.ANY)
    fewer = every.select("method", "centres").n_unique() - sum(map(len, blocks.values()))
    more = f" and {counted(len(unmoved) - NAMED, 'other')}" if len(unmoved) > NAMED else ""
    ranked = "separation" if scopes else "dispersion"
    separation = ", of OOD to its nearest centre less that of ID (separation)" if scopes else ""
    lines = [
        "Angles in degrees: between centres (dispersion), of ID to the centre of its class (compactness)"
        f"{separation}. Test samples, largest shots, mean over seeds.",
        "" if scopes else f"No separation: {NOTHING}",
        "" if "means" in blocks else "No method changes features, so class means stay.",
        f"Without features or prototypes of their own: {', '.join(unmoved[:NAMED])}{more}." if unmoved else "",
        f"{counted(fewer, f'row of less {ranked} is', f'rows of less {ranked} are')} left out." if fewer > 0 else "",
    ]
    return " ".join(filter(None, lines))
