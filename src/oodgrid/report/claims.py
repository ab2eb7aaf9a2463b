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

STUDY = "Ming & Li (IJCV 2023, abstract)"


def claims(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what the study says, and beside it what this run shows."""
    found = []
    by_score = pair.differences("best_of_method", "auroc", "overall").filter(pl.col("method") != select.ANY)
    score = select.default_score(pair.metrics)  # MCM, of its variants the one with which tables compare
    under_mcm = (pl.col("score") == score) & (pl.col("base_score") == "mcm")
    title = escape_markdown(legend.scores[score])
    mcm = by_score.filter(under_mcm)
    if len(mcm) and by_score["score"].n_unique() > 1:
        apart = by_score.group_by("method").agg(pl.col("diff").min().abs(), pl.len()).filter(pl.col("len") > 1)["diff"]
        least, most = percent(apart.min(), 1), percent(apart.max(), 1)
        span = least if least == most else f"{least} to {most}"
        found.append(
            f"{STUDY}: the choice of the score is essential, and MCM does well throughout. Here the best and the worst "
            f"score of a method are {span} points apart, and {title} is among the best for "
            f"{len(mcm.filter('in_best_set'))} of {counted(len(mcm), 'method')}."
        )
    tuned = pair.differences("zero_shot_mcm", "auroc", "overall").filter(
        under_mcm, pl.col("shots") > 0, pl.col("method") != select.ANY
    )
    if len(tuned):
        counts = words.counted(tuned)
        found.append(
            f"{STUDY}: fine-tuning improves OOD detection over zero-shot. Here, under {title}, distinguishably better: "
            f"{counts['better']} of {counted(len(tuned), 'fine-tuned method')}; worse: {counts['worse']}."
        )
        found += _prompts(pair, tuned, legend)
    return found


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
        f"{STUDY}: prompt learning improves both ID accuracy and OOD detection. Here, distinguishably better than "
        f"zero-shot with MCM in both: {sum(both)} of {counted(len(both), 'prompt learner')}."
    ]


def _learns_prompts(method: str) -> bool:
    try:
        return "text_tower" in registry.find("method", method).needs
    except OodgridError:  # a plugin of another experiment
        return False
