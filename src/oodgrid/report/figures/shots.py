"""Do shots help? A panel a method, mean AUROC over shots with its interval, the other methods in grey behind it."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from oodgrid.report import canvas, names, select
from oodgrid.report.figures.study import NOTHING, Study

LINES = {"near": "-", "far": (0, (4, 1.5))}
Line = tuple[str, str]  # a method and a kind


def draw(study: Study, width: float) -> Figure:
    """Return small multiples, all methods under the score that is best for the most of them."""
    score = study.winning_score
    rows = study.summary.filter(
        pl.col("score") == score, pl.col("metric") == "auroc", pl.col("scope").is_in(select.AVERAGED),
        pl.col("method") != select.ANY,
    )  # fmt: skip
    lines = {key: frame.sort("shots") for key, frame in rows.group_by("method", "scope", maintain_order=True)}
    over_shots = {key: frame for key, frame in lines.items() if frame["shots"].gt(0).any()}
    counts = sorted({count for frame in over_shots.values() for count in frame["shots"]})
    if len(counts) < 2:
        why = NOTHING if not lines else "one number of shots was run, or none."
        return canvas.sentence(f"No curves over shots: {why}", width)
    methods = list(dict.fromkeys(method for method, _ in over_shots))
    few = len(methods) <= 8
    most = (4 if few else 5) if width > canvas.COLUMN else (2 if few else 3)
    height = min(1.35 if few else 1.1, (canvas.TALLEST - 1.2) / -(-len(methods) // most))
    figure, panels = canvas.panels(len(methods), width, most, height, sharex=True, sharey=True)
    columns = canvas.even_columns(len(methods), most)
    levels = {kind: frame for (method, kind), frame in lines.items() if method == "zero_shot"}
    canvas.titles(panels, [study.legend.methods[method] for method in methods], (width - 0.4) / columns - 0.1, 7.0)
    for number, (axes, method) in enumerate(zip(panels, methods, strict=True)):
        _panel(axes, study, method, over_shots, levels)
        _axis(axes, counts, lowest=number + columns >= len(methods), first=number % columns == 0)
    samples = {"other methods": canvas.sample(color=canvas.OTHERS, linewidth=0.8)}
    if levels:
        samples |= {
            f"{study.legend.methods['zero_shot']}": canvas.sample(color=names.BLACK, linewidth=0.7, linestyle=":")
        }
    text = (
        f"Score: {study.legend.scores[score]}; no other is the best of more methods by overall AUROC, a choice "
        "by OOD results. Bands: 95 % intervals."
    )
    canvas.legend(figure, samples, text)
    return figure


def _axis(axes: Axes, counts: list[int], lowest: bool, first: bool) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, labels=[str(count) for count in counts])
    axes.set_xlim(counts[0] / 1.15, counts[-1] * (counts[-1] / counts[0]) ** 0.3)  # right of the lines stand labels
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=canvas.SMALL, labelbottom=lowest)
    axes.grid(True, axis="y")
    if lowest:
        axes.set_xlabel("Shots a class", fontsize=7)
    if first:
        axes.set_ylabel("AUROC, %", fontsize=7)


def _panel(
    axes: Axes, study: Study, method: str, lines: dict[Line, pl.DataFrame], levels: dict[str, pl.DataFrame]
) -> None:
    for (other, _), frame in lines.items():
        if other != method:
            axes.plot(frame["shots"], 100 * frame["mean"], color=canvas.OTHERS, linewidth=0.6, zorder=1)
    for frame in levels.values():
        axes.axhline(100 * frame["mean"][0], color=names.BLACK, linewidth=0.7, linestyle=":", zorder=2)
    look, ends = study.legend.looks[method], {}
    for kind in select.AVERAGED:
        if (line := lines.get((method, kind))) is None:
            continue
        known = line.drop_nulls(["lo", "hi"])
        axes.fill_between(
            known["shots"], 100 * known["lo"], 100 * known["hi"], color=look.colour, alpha=0.18, linewidth=0
        )
        axes.plot(line["shots"], 100 * line["mean"], color=look.colour, linestyle=LINES[kind], zorder=3,
                  **{**names.points(look), "markersize": 3})  # fmt: skip
        ends[kind] = (line["shots"][-1], 100 * line["mean"][-1])
    _name_lines(axes, ends)


def _name_lines(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """Write near and far behind the ends of their lines, the higher one above where both meet."""
    order = sorted(ends, key=lambda kind: ends[kind][1])
    for kind in ends:
        above = "center" if len(ends) == 1 else ("top", "bottom")[order.index(kind)]
        axes.annotate(kind, ends[kind], xytext=(4, 0), textcoords="offset points", va=above, fontsize=canvas.TINY)
