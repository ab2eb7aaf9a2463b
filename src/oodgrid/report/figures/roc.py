"""What recall at what price? ROC curves of one method and score, a panel an OOD set, beside zero-shot with MCM."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from oodgrid.report import canvas, names, select
from oodgrid.report.figures.chosen import Curve, choice, curves_by_set, curves_of, why_none
from oodgrid.report.figures.study import Study

LOWEST_FPR = 0.001  # where the log axis starts
CHOSEN = {"color": names.BLUE, "linewidth": 1.2}
REFERENCE = {"color": names.BLACK, "linewidth": 0.8, "linestyle": (0, (4, 2))}


def draw(study: Study, width: float) -> Figure:
    """Return ID recall over FPR (ID positive, log scale from 0.1 %); markers stand at 95 % ID recall."""
    pair, curves = curves_of(study)
    if pair is None or not curves:
        return canvas.sentence(f"No ROC curves: {why_none(study, pair)}", width)
    reference = study.reference if study.reference != pair else None
    beside = curves_by_set(study, reference)
    most = 4 if width > canvas.COLUMN else 2
    figure, panels = canvas.panels(len(curves), width, most, 1.45, sharex=True, sharey=True)
    columns = canvas.even_columns(len(curves), most)
    labels = [f"{name} ({study.sets[name]})" for name in curves]
    canvas.titles(panels, labels, (width - 0.4) / columns - 0.2, 7.0)
    for number, (axes, (name, row)) in enumerate(zip(panels, curves.items(), strict=True)):
        if reference and name in beside:
            _line(axes, beside[name], study.title(reference), REFERENCE)
        _line(axes, row, study.title(pair), CHOSEN)
        lowest = number + columns >= len(curves)
        _axes(axes, row, lowest, "FPR (ID pos.), %" if lowest else "", "" if number % columns else "ID recall, %")
    text = f"{choice(study, pair)} Markers: 95 % ID recall, where FPR is at least 0.1 %."
    canvas.legend(figure, canvas.legend_of(panels), text)
    return figure


def _line(axes: Axes, row: Curve, label: str, look: dict[str, object]) -> None:
    fpr, tpr = on_log_axis(np.asarray(row["roc_fpr"], dtype=float), np.asarray(row["roc_tpr"], dtype=float))
    axes.plot(100 * fpr, 100 * tpr, label=label, **look)
    if (price := row["fpr95_id_pos"]) >= LOWEST_FPR:  # else all markers would pile up at the left edge
        axes.plot(100 * price, 100 * np.interp(price, fpr, tpr), "o", color=look["color"], markersize=3.5, zorder=3)


def _axes(axes: Axes, row: Curve, lowest: bool, x: str, y: str) -> None:
    axes.axhline(95, color=names.GREY, linewidth=0.5, linestyle=":", zorder=1)
    axes.set(xscale="log", xlim=(100 * LOWEST_FPR, 100), ylim=(0, 101), yticks=(0, 25, 50, 75, 95))
    axes.set_xticks((0.1, 1, 10, 100), labels=("0.1", "1", "10", "100"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=canvas.SMALL, labelbottom=lowest)
    if lowest:
        axes.get_xticklabels()[0].set_ha("left")  # or it runs into the neighbour's last label
        axes.get_xticklabels()[-1].set_ha("right")
    axes.set_xlabel(x, fontsize=7)
    axes.set_ylabel(y, fontsize=7)
    axes.grid(True)
    good = row["auroc"] > 0.85  # a good curve leaves the lower right free, a poor one the upper left
    place = {"x": 0.97, "y": 0.04, "ha": "right"} if good else {"x": 0.03, "y": 0.9, "ha": "left", "va": "top"}
    axes.text(s=numbers(row), transform=axes.transAxes, fontsize=canvas.TINY, linespacing=1.2, **place)


def numbers(row: Curve) -> str:
    """Return AUROC and the rate of false alarms in words."""
    auroc, fpr = (select.percent(row[name], digits=1) for name in ("auroc", "fpr95_id_pos"))
    return f"AUROC {auroc}\n{names.FPR_ID} {fpr}"


def on_log_axis(fpr: np.ndarray, tpr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
