"""Which temperature? Mean AUROC over T, a column a score and a row a kind of OOD, with the default T marked.

Scores whose numbers are the same at every T share a column: MSP is MCM at another default. Past six methods, those are
told apart that come highest, and the others are grey.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from oodgrid.report import canvas, names
from oodgrid.report.figures.study import NOTHING, Study

COLOURED = 6
KEYS = ("method", "scope", "T", "auroc")
ZERO_SHOT = {"color": names.BLACK, "linewidth": 0.9, "linestyle": (0, (4, 2))}
DEFAULT = {"color": names.GREY, "linewidth": 0.8, "linestyle": ":"}


class Group(NamedTuple):
    """Scores that are one function of T.

    Attributes:
        scores: Their names without T.
        defaults: The default T of each.
        rows: The rows of the first.
    """

    scores: list[str]
    defaults: list[float]
    rows: pl.DataFrame


def draw(study: Study, width: float) -> Figure:
    """Return a panel for each score and kind, methods at their largest shots."""
    frame = study.temperatures
    kinds = [kind for kind in names.KINDS if len(frame) and kind in set(frame["scope"])]
    if not kinds:
        return canvas.sentence(f"No AUROC over temperatures: {NOTHING}", width)
    groups = _groups(frame.filter(pl.col("scope").is_in(kinds)))
    columns = canvas.even_columns(len(groups), 4 if width > canvas.COLUMN else 2)
    bands = -(-len(groups) // columns)
    height = min(1.45, (canvas.TALLEST - 1.3) / (bands * len(kinds)))
    figure, grid = canvas.blank(
        bands * len(kinds), columns, width, 0.45 + height * bands * len(kinds), sharex=True, sharey="row"
    )
    coloured = _highest(frame)
    for place in range(bands * columns):
        band, column = divmod(place, columns)
        panels = [grid[band * len(kinds) + row, column] for row in range(len(kinds))]
        if place >= len(groups):
            for axes in panels:
                axes.remove()
            continue
        for axes, kind in zip(panels, kinds, strict=True):
            _panel(axes, study, groups[place], kind, coloured)
            axes.set_ylabel(f"{names.KINDS[kind]}, %" if not column else "", fontsize=7)
        lowest = place + columns >= len(groups)
        panels[-1].tick_params(labelbottom=lowest)
        panels[-1].set_xlabel("T, on cosines" if lowest else "", fontsize=7)
    tops = [grid[place // columns * len(kinds), place % columns] for place in range(len(groups))]
    titles = (", ".join(study.legend.scores.get(score, score) for score in group.scores) for group in groups)
    canvas.titles(tops, titles, (width - 0.5) / columns - 0.1, 7.0)
    canvas.legend(figure, _samples(study, frame, coloured), _text(frame))
    return figure


def _groups(frame: pl.DataFrame) -> list[Group]:
    """Return the scores, those together whose numbers are the same at every T of every method and kind."""
    groups: list[Group] = []
    for (score,), rows in frame.group_by("curve", maintain_order=True):
        default = rows.filter("is_default")["T"]
        numbers = rows.select(*KEYS).sort(KEYS)
        same = next((group for group in groups if group.rows.select(*KEYS).sort(KEYS).equals(numbers)), None)
        if same is None:
            groups.append(same := Group([], [], rows))
        same.scores.append(score)
        same.defaults.extend(default[:1])
    return groups


def _highest(frame: pl.DataFrame) -> list[str]:
    """Return the methods that are told apart, in order: those that reach the highest overall AUROC, zero-shot apart."""
    learned = frame.filter(pl.col("method") != "zero_shot", pl.col("scope") == "overall")
    best = learned.group_by("method", maintain_order=True).agg(pl.col("auroc").max())
    highest = set(best.sort("auroc", descending=True, maintain_order=True)["method"][:COLOURED])
    return [method for method in best["method"] if method in highest]


def _panel(axes: Axes, study: Study, group: Group, kind: str, coloured: list[str]) -> None:
    for (method,), rows in group.rows.filter(pl.col("scope") == kind).group_by("method", maintain_order=True):
        line = rows.sort("T")
        look = study.legend.looks.get(method)
        if method == "zero_shot":
            axes.plot(line["T"], 100 * line["auroc"], zorder=4, **ZERO_SHOT)
        elif method in coloured and look is not None:
            options = {**names.points(look), "markersize": 2.6, "color": look.colour, "linestyle": look.line}
            axes.plot(line["T"], 100 * line["auroc"], linewidth=0.9, zorder=3, **options)
        else:
            axes.plot(line["T"], 100 * line["auroc"], color=canvas.OTHERS, linewidth=0.6, zorder=1)
    titles = canvas.fit((study.legend.scores.get(score, score) for score in group.scores), 0.5, canvas.TINY)
    for name, default in zip(titles, group.defaults, strict=False):
        axes.axvline(default, zorder=2, **DEFAULT)
        if len(group.scores) > 1:
            axes.annotate(name, (default, 0.02), xycoords=("data", "axes fraction"), xytext=(1.5, 0), color=names.GREY,
                          textcoords="offset points", fontsize=canvas.TINY, rotation=90, va="bottom")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=5 if axes.figure.get_figwidth() > canvas.COLUMN else 4))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axes.tick_params(labelsize=canvas.SMALL)
    axes.grid(True)


def _samples(study: Study, frame: pl.DataFrame, coloured: list[str]) -> dict[str, object]:
    samples: dict[str, object] = {}
    if "zero_shot" in set(frame["method"]):
        samples[study.legend.methods["zero_shot"]] = canvas.sample(**ZERO_SHOT)
    for method in coloured:
        look = study.legend.looks[method]
        options = {**names.points(look), "markersize": 2.6, "color": look.colour, "linestyle": look.line}
        samples[study.legend.methods[method]] = canvas.sample(linewidth=0.9, **options)
    if set(frame["method"]) - {*coloured, "zero_shot"}:
        samples["other methods"] = canvas.sample(color=canvas.OTHERS, linewidth=0.8)
    return samples | {"default T": canvas.sample(**DEFAULT)}


def _text(frame: pl.DataFrame) -> str:
    """Return how far the best T is from the default, for the row where it gains most, and what that is."""
    overall = frame.filter(pl.col("scope") == "overall")
    default = overall.filter("is_default").select("method", "curve", at_default="auroc")
    best = overall.sort("auroc", descending=True, maintain_order=True).group_by("method", "curve").first()
    gains = best.join(default, on=["method", "curve"]).select(gain=pl.col("auroc") - pl.col("at_default"))
    most = f" Over the default it gains {100 * gains.max().item():.1f} points at most." if len(gains) else ""
    return (
        "Largest shots, mean over seeds and sets. The best T of a curve is an oracle: OOD results choose it, and no "
        f"table shows it.{most}"
    )
