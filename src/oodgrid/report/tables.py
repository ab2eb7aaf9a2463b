"""The tables of a pair of backbone and ID dataset: main, scores, sets, streams, full and what was skipped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from oodgrid import paths
from oodgrid.counts import counted
from oodgrid.measures import RATES, of_first
from oodgrid.progress import progress
from oodgrid.report import answer, latex, letters, names, notes, render, select, streaming, words
from oodgrid.report.evaluated import ROW, Evaluated
from oodgrid.report.names import Legend
from oodgrid.report.numbers import numbers
from oodgrid.report.render import Column, Table
from oodgrid.store import atomic

SHOWN = ("auroc", "fpr95_id_pos")  # of each kind in the main table
LONGEST = 30  # letters of an OOD set's name in a header; a longer one has a letter there, and a note
BOLD = "Bold: not distinguishable from the best."  # of every caption
CONVENTIONS = notes.CONVENTIONS
PLAIN: dict[str, Callable[[Table], str]] = {"md": render.markdown, "csv": render.csv, "html": render.html}


def write_tables(
    evaluated: Evaluated, results: Path, experiment: str, spread: str = "interval", grades: pl.DataFrame | None = None
) -> None:
    """Write summary.md, and the tables of every (backbone, id_dataset) to <backbone>/<id_dataset>/ beside it.

    Args:
        evaluated: What evaluate leaves.
        results: The results folder.
        experiment: Name.
        spread: What stands beside a mean, "interval" or "sd".
        grades: The rows of grades.parquet, where the config asks for grades.
    """
    folder, foreign = paths.report(results, experiment, "tables"), False
    with atomic(folder / "summary.md") as beside:
        beside.write_text(answer.markdown(answer.answers(evaluated)), encoding="utf-8")
    for backbone, id_dataset in progress(select.pairs(evaluated.metrics), desc="tables", unit="pair"):
        every = evaluated.pair(backbone, id_dataset)
        files = {"full.csv": render.inert(full(every.metrics)).write_csv()}
        shifted = {} if grades is None else {"grades": graded(every, grades)}
        for name, table in (of_pair(every) | shifted).items():
            table = replace(table, spread=spread)
            label = f"tab:{experiment}:{backbone}:{id_dataset}:{name}"
            files[f"{name}.tex"] = latex.latex(table, label=label)
            files |= {f"{name}.{suffix}": typeset(table) for suffix, typeset in PLAIN.items()}
            if name == "main":
                files["main-column.tex"] = latex.latex(table, latex.COLUMN, f"{label}-column")
        missing = skipped(every.metrics)
        files["skipped.csv"] = render.inert(missing).write_csv()
        files["skipped.md"] = render.markdown_list(missing) if len(missing) else "Nothing was skipped.\n"
        foreign |= any(letters.needs_unicode(text) for name, text in files.items() if name.endswith(".tex"))
        for name, text in files.items():
            with atomic(folder / backbone / id_dataset / name) as beside:
                beside.write_text(text, encoding="utf-8")
    if foreign:
        print(
            "oodgrid: some names have letters that pdfLaTeX lacks: it spells or numbers them; XeLaTeX and LuaLaTeX "
            "print those that their font has",
            file=sys.stderr,
        )


def of_pair(every: Evaluated) -> dict[str, Table]:
    """Return the tables of one pair by name: main, scores and sets, and streams where there are such scores."""
    shown, of_streams = every.samples(), every.streams()
    tables = {"main": main(shown), "scores": scores(shown), "sets": sets(shown)}
    tables |= {"streams": streams(of_streams)} if len(of_streams.metrics) else {}
    settings = every.settings.get(select.pairs(every.metrics)[0], [])
    return {name: replace(table, notes=[*table.notes, *settings]) for name, table in tables.items()}


def main(pair: Evaluated, score: str | None = None) -> Table:
    """Lay out the main table: ID accuracy, near and far averages of each method, under one score and under its best.

    The one score is chosen without OOD results (`select.default_score`), the best of each method by them.

    Args:
        pair: One pair, without transductive scores.
        score: The one score.
    """
    legend, every = Legend.of(pair.metrics), pair.rows()
    score = score or select.default_score(pair.metrics)
    under_one = every.filter(pl.col("score") == score)
    best = pair.differences("best_of_method", "auroc", "overall").filter("is_best").select(ROW)
    under_best = every.join(best, on=ROW, how="semi", maintain_order="left")
    headings = [f"Under {legend.scores[score]}", "Each under its best score, chosen by these OOD results"]
    blocks = [under_one.with_columns(block=pl.lit(headings[0]), against=pl.lit("best_of_score"))]
    if set(under_best["score"]) - {score}:
        blocks.append(under_best.with_columns(block=pl.lit(headings[1]), against=pl.lit("best")))
    rows = pl.concat(blocks)
    up = names.BETTER["id_accuracy"]
    columns = [Column("id_accuracy", ("", f"ID acc. {up}"), "id_accuracy", "id"), *_kind_columns(pair, SHOWN)]
    frame = numbers(pair, rows, columns).drop("against")
    if len(blocks) == 1:
        frame = frame.drop("block")
    shown = pair.metrics.join(frame.select(ROW), on=ROW, how="semi", maintain_order="left")
    shown = select.at_largest_shots(shown)
    caption = [f"Fine-tuning methods on {shown['id_dataset'][0]} with {shown['backbone'][0]}, in percent. {BOLD}"]
    chosen = f"{legend.scores[score]} is {select.why_score(score)}; no OOD result decided that."
    of_all = counted(words.compared(pair), words.PAIR)
    family = f"the methods under {legend.scores[score]}"
    family += f", and below among all {of_all}, shown or not" if len(blocks) > 1 else ""
    about = [*notes.bold(frame, family), *notes.fpr([names.FPR_ID])]
    about += [*notes.shots(shown, legend), chosen, *notes.optimism(pair, legend, len(blocks) > 1)]
    about += notes.averages(pair)
    remarks = [
        *notes.seeds(frame, columns, legend),
        *notes.lacking_fits(pair, frame, columns, legend),
        *notes.ties(pair, frame, legend),
        *notes.jumps(frame, columns, legend),
        *notes.missing(shown, frame, columns, legend),
        *notes.collapsed(pair.metrics, shown, legend),
    ]
    return Table(caption, list(ROW), columns, frame, legend, about, remarks)


def scores(pair: Evaluated, more: Sequence[str] = ()) -> Table:
    """Lay out the scores table: a row a method and score, means over near and far OOD, both conventions.

    Args:
        pair: One pair.
        more: Metrics to show behind these.
    """
    columns = _kind_columns(pair, (*RATES, *more))
    table = _by_score(pair, columns, "Methods and scores, averaged over near and over far OOD sets")
    about = notes.fpr([names.FPR_ID, names.FPR_OOD]) + notes.averages(pair)
    return replace(table, notes=table.notes + about)


def sets(pair: Evaluated) -> Table:
    """Lay out the table by OOD set: a row a method and score, AUROC on every set."""
    columns: list[Column] = []
    lines: list[str] = []
    of = pair.metrics.select("ood_dataset", "ood_kind", "overlap").unique(maintain_order=True)
    for kind, title in names.KINDS.items():
        for name, overlap in of.filter(pl.col("ood_kind") == kind).select("ood_dataset", "overlap").rows():
            shown, ranked = name, kind in select.AVERAGED and not overlap
            if len(name) > LONGEST:
                shown = f"Set {chr(ord('A') + len(lines))}"
                lines.append(f"{shown}: {name}.")
            header = (title.removesuffix(" shift"), f"{shown}†" if overlap else shown)
            columns.append(Column(f"{kind}.{name}.auroc", header, "auroc", "set", name, ranked))
    table = _by_score(pair, columns, "AUROC of methods and scores by OOD set")
    return replace(table, notes=lines + table.notes + notes.marked_sets(pair.metrics))


def streams(pair: Evaluated) -> Table:
    """Lay out the table of transductive scores: as the scores table; orders of the stream count as seeds do."""
    firsts = [name for name in pair.metrics.columns if of_first(name)]
    table = scores(pair, firsts)
    about = (
        "Transductive scores: the value of a sample depends on those before it in a stream of ID and OOD samples, so "
        "no number here compares with a score of single samples. Means are over seeds and over orders of the stream."
    )
    peeking = [*streaming.peeking(pair.metrics, table.legend), *streaming.first_samples(firsts)]
    return replace(
        table,
        caption=["Transductive scores.", *table.caption],
        notes=[about, *peeking, *table.notes],
        remarks=[*streaming.orders(pair, table), *table.remarks],
    )


def graded(pair: Evaluated, grades: pl.DataFrame) -> Table:
    """Lay out how sensitive each method and score is to the semantic and to the covariate shift of OOD samples.

    Args:
        pair: One pair.
        grades: The rows of grades.parquet.
    """
    (backbone, id_dataset), names_of_row = select.pairs(pair.metrics)[0], ["method", "score"]
    columns = [
        Column(f"{rate}_{axis}", (f"{axis.capitalize()} shift", names.METRICS[rate]), rate, ranked=False)
        for axis in ("semantic", "covariate")
        for rate in RATES
    ]
    frame = pl.DataFrame(schema=dict.fromkeys(names_of_row, pl.String) | {c.key: pl.Float64 for c in columns})
    if len(grades):
        slopes = grades.filter(backbone=backbone, id_dataset=id_dataset, what="sensitivity")
        frame = slopes.pivot("axis", index=names_of_row, values=RATES)
    caption = [f"Sensitivity to graded shifts: {id_dataset} with {backbone}, in points a level."]
    about = [
        "Sensitivity: the slope, without its sign, of a line through the means of the levels of one shift, each over "
        "the levels of the other that have more than ten samples (IS-OOD). Largest shots, mean over seeds."
    ]
    return Table(caption, names_of_row, columns, frame, Legend.of(pair.metrics), about, digits=1)


def full(rows: pl.DataFrame) -> pl.DataFrame:
    """Return every row of the pair, at all shots and seeds, fractions as percent and named so.

    `below_zero_shot` marks fits that classify ID worse than zero-shot does, as collapsed ones.
    """
    keys = ["method", "shots", "seed"]
    below = select.below_zero_shot(rows).select(*keys, below_zero_shot=pl.lit(True))
    rows = rows.join(below, on=keys, how="left", maintain_order="left").with_columns(
        pl.col("below_zero_shot").fill_null(False)
    )
    numbers = [name for name, kind in rows.schema.items() if kind.is_float()]
    as_percent = [(pl.col(name) * 100).alias(f"{name}_percent") for name in numbers]
    return rows.rename({"overlap": "overlaps_id"}).select(pl.exclude(numbers), *as_percent)


def skipped(rows: pl.DataFrame) -> pl.DataFrame:
    """List what gave no number and why; lines that differ in one name only are one line, all OOD sets are `all`."""
    folded = ("ood_dataset", "seed", "shots", "score")
    listed = rows.filter(pl.col("status") != "ok").select("method", *reversed(folded), "status", "reason")
    listed = listed.with_columns(pl.col(*folded).cast(pl.String))
    everything = " ".join(select.names(rows, "ood_dataset"))
    for column in folded:
        others = [name for name in listed.columns if name != column]
        joined = listed.group_by(*others, maintain_order=True).agg(pl.col(column).str.join(" "))
        listed = joined.select(listed.columns)
    return listed.with_columns(pl.col("ood_dataset").replace(everything, "all"))


def _by_score(pair: Evaluated, columns: list[Column], what: str) -> Table:
    """Lay out a table with a row a method and score."""
    legend, shown = Legend.of(pair.metrics), select.at_largest_shots(pair.metrics)
    frame = numbers(pair, pair.rows().with_columns(against=pl.lit("best")), columns).drop("against")
    caption = [f"{what}: {shown['id_dataset'][0]} with {shown['backbone'][0]}, in percent. {BOLD}"]
    about = notes.bold(frame, f"all {counted(words.compared(pair), words.PAIR)}") + notes.shots(shown, legend)
    remarks = [
        *notes.seeds(frame, columns, legend),
        *notes.lacking_fits(pair, frame, columns, legend),
        *notes.ties(pair, frame, legend),
        *notes.jumps(frame, columns, legend),
        *notes.missing(shown, frame, columns, legend),
    ]
    return Table(caption, list(ROW), columns, frame, legend, about, remarks)


def _kind_columns(pair: Evaluated, rates: Sequence[str]) -> list[Column]:
    """Return the columns of the means over near and over far sets, where there are such."""
    shown = select.shown_sets(pair.metrics)
    columns = []
    for kind in select.AVERAGED:
        count = select.of_kind(shown, kind)["ood_dataset"].n_unique()
        if count:
            title = f"{names.KINDS[kind]} ({count} set{'s' if count > 1 else ''})"
            columns += [
                Column(f"{kind}.{rate}", (title, _metric(rate)), rate, kind, ranked=rate in RATES) for rate in rates
            ]
    return columns


def _metric(metric: str) -> str:
    """Return how the header of a column says a metric, of the first samples of a stream too: AUROC, first 100."""
    rate, _, count = metric.partition("_first")
    return f"{names.METRICS[rate]}{f', first {count}' * bool(count)} {names.BETTER[rate]}"
