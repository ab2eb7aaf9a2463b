"""The answer first: which detector is best, how surely, and at what cost, as sentences and one small leaderboard."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from oodgrid.counts import counted
from oodgrid.report import findings, names, notes, render, select, words
from oodgrid.report.evaluated import ROW, Evaluated
from oodgrid.report.names import Legend
from oodgrid.report.numbers import numbers
from oodgrid.report.render import Column, Table

MOST = 8  # rows of a leaderboard, beside the best near and far and zero-shot with MCM
TITLES = {"overall": "Overall AUROC", "near": "Near AUROC", "far": "Far AUROC"}


@dataclass(frozen=True)
class Answer:
    """What an experiment says of one pair, or of all of them together.

    Attributes:
        heading: Of what.
        sentences: Each from the data, as Markdown.
        leaderboard: The best rows; None where nothing can be averaged.
        folded: Whether the page folds it: it is of one pair, and the answer over all pairs stands above it.
    """

    heading: str
    sentences: list[str]
    leaderboard: Table | None
    folded: bool = False


def answers(evaluated: Evaluated) -> list[Answer]:
    """Return the answers of an experiment: over all its pairs first, where it has several, and then of each."""
    single = evaluated.samples()
    pairs = select.pairs(evaluated.metrics)
    legend = Legend.of(single.metrics)
    of_each = [_of_pair(single.pair(*pair), legend, f"{pair[1]} with {pair[0]}") for pair in pairs]
    if len(pairs) > 1:
        of_each = [*_across(single, pairs, legend), *(replace(answer, folded=True) for answer in of_each)]
    if not of_each:
        return []
    first, *others = of_each
    return [replace(first, sentences=_toy(evaluated.generated) + first.sentences), *others]


def _toy(generated: list[str]) -> list[str]:
    """Return the sentence that must come first where images are drawn by a program."""
    if not generated:
        return []
    sets = render.escape_markdown(", ".join(generated))
    tells = "It shows that all parts work; how methods and scores compare on photographs it does not tell."
    return [f"**A toy world**: the images of {sets} are drawn by a program. {tells}"]


def markdown(every: list[Answer]) -> str:
    """Return answers as Markdown: what summary.md holds."""
    return "\n".join(f"## {render.escape_markdown(answer.heading)}\n\n{body(answer)}" for answer in every)


def body(answer: Answer) -> str:
    """Return one answer as Markdown, without its heading."""
    board = f"\n{render.markdown(answer.leaderboard)}" if answer.leaderboard else ""
    return "".join(f"- {line}\n" for line in answer.sentences) + board


def _of_pair(pair: Evaluated, legend: Legend, heading: str) -> Answer:
    return Answer(heading, findings.of_pair(pair, legend), leaderboard(pair, legend))


def leaderboard(pair: Evaluated, legend: Legend) -> Table | None:
    """Return the rows that are not distinguishable from the best overall, the best near and far, and the reference."""
    scopes = words.scopes(pair)
    if not scopes:
        return None
    columns = [Column(f"{scope}.auroc", (f"{TITLES[scope]} ↑",), "auroc", scope) for scope in scopes]
    reference = _reference(pair, scopes[0])
    first = pair.differences("best", "auroc", scopes[0]).filter("in_best_set")
    first = first.sort("diff", descending=True, maintain_order=True)
    others = [pair.differences("best", "auroc", scope).filter("is_best") for scope in scopes[1:]]
    rows = pl.concat([each.select(ROW) for each in (first.head(MOST), *others, reference)])
    rows = rows.unique(maintain_order=True).with_columns(against=pl.lit("best"))
    frame = numbers(pair, rows, columns).sort(columns[0].key, descending=True, nulls_last=True, maintain_order=True)
    if len(reference):
        columns.append(Column("difference", ("Overall, to zero-shot + MCM",), ranked=False, signed=True))
        frame = _with_difference(frame, pair, scopes[0])
    accuracy = Column("id_accuracy", (f"ID acc. {names.BETTER['id_accuracy']}",), "id_accuracy", "id")
    frame = numbers(pair, frame, [accuracy])
    more = len(first) - MOST
    about = [f"{more} more {'is' if more == 1 else 'are'} not distinguishable from the best overall."] * (more > 0)
    of_all = counted(len(pair.differences("best", "auroc", scopes[0])), words.PAIR)
    about += notes.leaders(
        of_all, any(frame[f"{column.key}.best"].any() for column in [*columns, accuracy] if column.ranked)
    )
    what = [f"{'The best of ' * (len(frame) > 1)}{of_all}, AUROC and ID accuracy in percent."]
    remarks = [*notes.ties(pair, frame, legend), *notes.remarked(pair, frame, legend)]
    return Table(what, list(ROW), [*columns, accuracy], frame.drop("against"), legend, about, remarks)


def _reference(pair: Evaluated, scope: str) -> pl.DataFrame:
    """Return the row with which others are compared: zero-shot with MCM; none where the experiment lacks it."""
    first = pair.differences("zero_shot_mcm", "auroc", scope).head(1)
    return first.select(
        method="reference_method", shots=pl.col("reference_shots").cast(pl.Int32), score="reference_score"
    )


def _with_difference(frame: pl.DataFrame, pair: Evaluated, scope: str) -> pl.DataFrame:
    """Return rows with their difference to zero-shot with MCM, which itself has none."""
    differences = pair.differences("zero_shot_mcm", "auroc", scope)
    itself = pl.all_horizontal(pl.col(f"reference_{name}") == pl.col(name) for name in ROW)
    ends = [pl.col(end).alias(f"difference.{end}") for end in ("lo", "hi")]
    differences = differences.filter(~itself).select(*ROW, pl.col("diff").alias("difference"), *ends)
    return frame.join(differences, on=ROW, how="left", maintain_order="left")


def _across(evaluated: Evaluated, pairs: list[tuple[str, str]], legend: Legend) -> list[Answer]:
    """Return the answer over all pairs, and of each backbone with several ID sets the means over them."""
    backbones = list(dict.fromkeys(backbone for backbone, _ in pairs))
    sentences = findings.over_pairs(evaluated, pairs, legend)
    every = [
        Answer(
            f"All {counted(len(pairs), 'pair')} of backbone and ID set", sentences, _of_pairs(evaluated, pairs, legend)
        )
    ]
    for backbone in backbones:
        means = evaluated.across(backbone)
        count = sum(name == backbone for name, _ in pairs)
        if len(means.summary):
            every.append(_of_pair(means, legend, f"Mean of {count} ID sets with {backbone}"))
    return every


def _of_pairs(evaluated: Evaluated, pairs: list[tuple[str, str]], legend: Legend) -> Table | None:
    """Return a table with the best overall of each pair."""
    lines = []
    columns = [
        Column("overall.auroc", (f"{TITLES['overall']} ↑",), "auroc", "overall", ranked=False),
        Column("difference", ("To zero-shot + MCM",), ranked=False, signed=True),
        Column("id_accuracy", (f"ID acc. {names.BETTER['id_accuracy']}",), "id_accuracy", "id", ranked=False),
    ]
    for backbone, id_dataset in pairs:
        pair = evaluated.pair(backbone, id_dataset)
        best = pair.differences("best", "auroc", "overall").filter("is_best").select(ROW)
        best = best.with_columns(backbone=pl.lit(backbone), id_dataset=pl.lit(id_dataset))
        frame = numbers(pair, best, [columns[0], columns[2]])
        lines.append(_with_difference(frame, pair, "overall"))
    frame = pl.concat(lines)
    if frame.is_empty():
        return None
    what = ["The best (method, score) of each pair by overall AUROC, in percent; chosen by these OOD results."]
    return Table(what, ["backbone", "id_dataset", *ROW], columns, frame, legend)
