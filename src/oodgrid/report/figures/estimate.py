"""Could one have known it without OOD labels? AUROC estimated from unlabelled scores against the true one.

A dot is a score of a method on a set of the bench, and its colour how much of the set is OOD.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oodgrid.report import canvas, names
from oodgrid.report.figures.study import Study

ESTIMATORS = {"unmixed": "Unmixed by one OOD share a set", "regression": "Regression on other ID and OOD sets"}
COLUMNS = {estimator: f"{estimator}_auroc" for estimator in ESTIMATORS}
# By the share of OOD samples from which on: few, some, many.
SHARES = {0.0: ("under 15 % OOD", canvas.OTHERS), 0.15: ("15 to 40 % OOD", names.ORANGE), 0.4: ("more", names.BLUE)}
MOST = 700  # dots of a panel
TOLD = (0.05, 0.2, 0.5)  # shares of OOD samples of which the errors are said


def draw(study: Study, width: float) -> Figure:
    """Return a panel for each estimator."""
    frame = study.estimates
    if frame.is_empty():
        return canvas.sentence(
            "No estimates: no set of the bench could be made, or evaluate was last run without `estimate: true`.", width
        )
    figure, panels = canvas.panels(len(ESTIMATORS), width, 2, 0.95 * width / len(ESTIMATORS) - 0.35, sharey=True)
    drawn = np.sort(np.random.default_rng(0).permutation(len(frame))[:MOST])  # each dot as likely as any other
    rows = frame[drawn]
    for axes, (estimator, title) in zip(panels, ESTIMATORS.items(), strict=True):
        _panel(axes, rows, COLUMNS[estimator])
        canvas.title(axes, title, width / len(ESTIMATORS) - 0.3)
        axes.set_xlabel("true AUROC, %", fontsize=7)
    panels[0].set_ylabel("estimated AUROC, %", fontsize=7)
    samples = {label: canvas.sample(**_look(colour)) for label, colour in SHARES.values()}
    canvas.legend(figure, samples, _text(study, len(rows), len(frame)))
    return figure


def _look(colour: str) -> dict[str, object]:
    return {"marker": "o", "markersize": 2.6, "linestyle": "", "color": colour, "alpha": 0.75, "markeredgewidth": 0}


def _panel(axes: Axes, rows: pl.DataFrame, column: str) -> None:
    axes.plot([0, 100], [0, 100], color=names.BLACK, linewidth=0.7, linestyle=(0, (3, 2)), zorder=3)
    for start, end in pairwise([*SHARES, 1.01]):
        some = rows.filter(pl.col("share") >= start, pl.col("share") < end)
        axes.plot(100 * some["true_auroc"], 100 * some[column], zorder=2, **_look(SHARES[start][1]))
    low = [100 * float(np.nanmin([*rows[name].to_numpy(), 0.5])) for name in ("true_auroc", *COLUMNS.values())]
    axes.set(xlim=(low[0] - 1, 101), ylim=(min(low) - 1, 101))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=6)
    axes.grid(True)


def _text(study: Study, shown: int, every: int) -> str:
    """Return how far the estimates are off, over all ID datasets of the experiment."""
    lines = []
    for estimator in ESTIMATORS:
        of_estimator = [
            error
            for error in study.estimate_errors
            if (error.rate, error.estimator, error.by) == ("auroc", estimator, "share") and error.low in TOLD
        ]
        parts = [f"{100 * error.rmse:.1f} at {100 * error.low:.0f} % OOD" for error in of_estimator]
        if parts:
            lines.append(f"Root mean square error of {estimator}, all ID datasets, in points: {', '.join(parts)}.")
    some = f"{shown} of {every} dots are drawn. " if shown < every else ""
    return f"{some}{' '.join(lines)} Reconstructed (Gscore); docs: estimate."
