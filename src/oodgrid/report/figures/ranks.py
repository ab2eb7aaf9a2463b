"""Are ranks over many ID datasets different? Bars join what a rank test cannot tell apart: critical differences.

Nemenyi's test at 5 % after Friedman's (Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", 2006).
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oodgrid.manifests import Ranks
from oodgrid.report import canvas, names, select
from oodgrid.report.figures.study import Study

MOST = 30  # rows of a panel


def draw(study: Study, width: float) -> Figure:
    """Return near beside far, a row a method and score by its mean rank of AUROC, the best first."""
    chosen = [entry for scope in select.AVERAGED if (entry := _entry(study, scope))]
    if not chosen:
        return canvas.sentence("No critical-difference diagram: it needs the results of ten ID datasets.", width)
    lines = max(min(len(entry.names), MOST) for entry in chosen)
    beside = len(chosen) if width > canvas.COLUMN else 1
    height = (0.65 + 0.15 * lines) * (len(chosen) // beside)
    figure, grid = canvas.blank(len(chosen) // beside, beside, width, height)
    for axes, entry in zip(grid.flat, chosen, strict=True):
        _panel(axes, study, entry, 0.36 * width / beside)
        canvas.title(axes, f"{names.KINDS[entry.scope]}: mean rank of AUROC", 0.6 * width / beside)
    first = chosen[0]
    canvas.note(figure, f"Over {first.id_datasets} ID datasets. Bars join rows whose mean ranks differ by less than "
                        f"the critical difference, {first.critical_difference:.2f} (Nemenyi, 5 %).")  # fmt: skip
    return figure


def _entry(study: Study, scope: str) -> Ranks | None:
    """Return the rank test of all rows; where they are more than a panel holds, of one score."""
    entries = [entry for entry in study.ranks if entry.scope == scope and entry.metric == "auroc"]
    small = [entry for entry in entries if len(entry.names) <= MOST]
    first = sorted(small or entries, key=lambda entry: (entry.score is not None, entry.score != study.default_score))
    return first[0] if first else None


def _panel(axes: Axes, study: Study, entry: Ranks, inches: float) -> None:
    pairs = entry.names[:MOST]
    ranks = entry.mean_ranks[:MOST]
    axes.plot(ranks, range(len(ranks)), "o", color=names.BLUE, markersize=4, zorder=3)
    for place, rank in enumerate(ranks):
        axes.plot([min(ranks), rank], [place, place], color="0.85", linewidth=0.5, zorder=1)
    groups = [(first, min(last, len(ranks) - 1)) for first, last in entry.groups if first < len(ranks) - 1]
    step = (max(ranks) - min(ranks) + 1e-9) * 0.05
    for number, (first, last) in enumerate(groups):
        x = max(ranks) + (number % 4 + 1) * step
        axes.plot([x, x], [first - 0.2, last + 0.2], color=names.BLACK, linewidth=2, solid_capstyle="butt")
    size = 6.5 if len(pairs) <= 20 else canvas.TINY
    axes.set_yticks(range(len(pairs)), labels=canvas.fit(map(study.title, pairs), inches, size), fontsize=size)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
