"""What the study of Ming & Li says, and beside it what this run shows."""

from __future__ import annotations

import polars as pl

from oodgrid import registry
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.report import select, words
from oodgrid.report.evaluated import Evaluated
from oodgrid.report.names import Legend
from oodgrid.report.render import escape_markdown
from oodgrid.report.select import percent

STUDY = "Ming & Li (IJCV 2023)"
ABSTRACT = "Ming & Li (IJCV 2023, abstract)"
SUMMARY = "Ming & Li (IJCV 2023, as a third party sums it up)"  # what its abstract does not say


def claims(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what the study says, and beside it what this run shows."""
    lines = []
    by_score = pair.differences("best_of_method", "auroc", "overall").filter(pl.col("method") != select.ANY)
    score = select.default_score(pair.metrics)  # MCM, of its variants the one with which tables compare
    under_mcm = (pl.col("score") == score) & (pl.col("base_score") == "mcm")
    title = escape_markdown(legend.scores[score])
    mcm = by_score.filter(under_mcm)
    if len(mcm) and by_score["score"].n_unique() > 1:
        apart = by_score.group_by("method").agg(pl.col("diff").min().abs(), pl.len()).filter(pl.col("len") > 1)
        ends = apart.select(pl.min("diff").alias("least"), pl.max("diff").alias("most")).row(0)
        least, most = (percent(end, 1) for end in ends)
        span = least if least == most else f"{least} to {most}"
        lines.append(
            f"{ABSTRACT}: a proper choice of the score is essential, and MCM is consistently promising. Here the best "
            f"and the worst score of a method are {span} points apart, and {title} is among the best for "
            f"{len(mcm.filter('in_best_set'))} of {counted(len(mcm), 'method')}."
        )
    tuned = pair.differences("zero_shot_mcm", "auroc", "overall").filter(
        under_mcm, pl.col("shots") > 0, pl.col("method") != select.ANY
    )
    if len(tuned):
        counts = words.counted(tuned)
        lines.append(
            f"{SUMMARY}: parameter-efficient fine-tuning is more reliable on OOD samples than zero-shot. Here, under "
            f"{title}, distinguishably better: {counts['better']} of {counted(len(tuned), 'fine-tuned method')}; "
            f"worse: {counts['worse']}."
        )
        lines += _prompts(pair, tuned, legend)
    return lines


def _prompts(pair: Evaluated, tuned: pl.DataFrame, legend: Legend) -> list[str]:
    """Return whether learned prompts improve both ID accuracy and OOD detection."""
    learners = [name for name in tuned["base_method"].unique(maintain_order=True) if _learns_prompts(name)]
    rows = tuned.filter(pl.col("base_method").is_in(learners))
    accuracy = pair.differences("zero_shot", "id_accuracy", "id")
    both = []
    for row in rows.iter_rows(named=True):
        of = words.at(accuracy, row, of_score=False)
        if of:
            both.append(row["diff"] > 0 and of["diff"] > 0 and row["distinguishable"] and of["distinguishable"])
    if not both:
        return []
    return [
        f"{STUDY}: prompt learning improves OOD detection over zero-shot (abstract), and ID accuracy too (a third "
        f"party's summary). Here, distinguishably better than zero-shot with MCM in both: {sum(both)} of "
        f"{counted(len(both), 'prompt learner')}."
    ]


def _learns_prompts(method: str) -> bool:
    try:
        return "text_tower" in registry.find("method", method).needs
    except OodgridError:  # a plugin of another experiment
        return False
