"""By how much does one score beat another? A row a score at its best method, sorted, with intervals."""

from __future__ import annotations

from matplotlib.figure import Figure

from oodgrid.report.figures.forest import forest
from oodgrid.report.figures.study import Study


def draw(study: Study, width: float) -> Figure:
    """Return the forest plot of scores, each at its best method."""
    return forest(study, study.best_of("score"), width, "Each score under its best method by overall AUROC")
