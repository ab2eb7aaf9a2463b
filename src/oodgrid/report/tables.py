"""The tables of a pair of backbone and ID dataset: main, scores, full and what was skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from oodgrid import paths
from oodgrid.progress import progress
from oodgrid.report import names, render, select
from oodgrid.report.names import Legend
from oodgrid.report.render import Column, Table
from oodgrid.store import atomic

SHOWN = ("fpr95_id_pos", "auroc")  # of each OOD set in the main table
RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")  # of each kind in the scores table, under both conventions
CONVENTIONS = {
    names.FPR_ID: "ID is the positive class: share of OOD samples kept where 95 % of the ID samples are kept.",
    names.FPR_OOD: "OOD is the positive class: share of ID samples flagged where 95 % of the OOD samples are flagged.",
}


def write_tables(
    metrics: pl.DataFrame,
    results: Path,
    experiment: str,
    overlaps: set[tuple[str, str]],
    transductive: Sequence[str] = (),
) -> None:
    """Write the tables of every (backbone, id_dataset) to <backbone>/<id_dataset>/ in the folder of tables.

    Args:
        metrics: The rows of metrics.parquet.
        results: The results folder.
        experiment: Name.
        overlaps: The (id_dataset, ood_dataset) pairs whose classes overlap: marked, and in no average.
        transductive: The scores whose values depend on other samples: they have a table of their own.
    """
    for backbone, id_dataset in progress(select.pairs(metrics), desc="tables", unit="pair"):
        every = select.one_pair(metrics, backbone, id_dataset, overlaps)
        rows, of_streams = select.without(every, transductive), select.only(every, transductive)
        files = {"full.csv": render.inert(full(every)).write_csv()}
        laid_out = {"main": main(rows), "scores": scores(rows)}
        for name, table in (laid_out | ({"streams": streams(of_streams)} if len(of_streams) else {})).items():
            for suffix, typeset in {"tex": render.latex, "md": render.markdown, "csv": render.csv}.items():
                files[f"{name}.{suffix}"] = typeset(table)
        missing = skipped(every)
        files["skipped.csv"] = render.inert(missing).write_csv()
        files["skipped.md"] = render.markdown_list(missing) if len(missing) else "Nothing was skipped.\n"
        for name, text in files.items():
            with atomic(paths.report(results, experiment, "tables") / backbone / id_dataset / name) as beside:
                beside.write_text(text, encoding="utf-8")


def main(rows: pl.DataFrame, score: str | None = None) -> Table:
    """Lay out the main table: a row a method at its largest shots, two rates of every OOD set, two averages.

    Args:
        rows: One pair, as `select.one_pair` returns it.
        score: The score to show; the first listed one that worked where None.
    """
    score, legend = score or select.default_score(rows), Legend.of(rows)
    largest = select.at_largest_shots(rows)
    shown = largest.filter(pl.col("score") == score)
    stubs = ["method", "shots"]
    accuracy = select.id_accuracies(largest).select(*stubs, "seed", key=pl.lit("id_accuracy"), value="id_accuracy")
    sets = _long(shown, SHOWN, stubs, pl.format("{}.{}", "ood_kind", "ood_dataset"))
    averages = _long(select.kind_means(shown, SHOWN), SHOWN, stubs, pl.format(f"{{}}.{_average(rows)}", "ood_kind"))
    up = names.BETTER["id_accuracy"]
    columns = [Column("id_accuracy", ("", "", f"ID acc. {up}"), up)]
    columns += [column for kind in names.KINDS for column in _kind_columns(rows, kind)]
    frame = _frame(shown, stubs, columns, pl.concat([accuracy, sets, averages]))
    caption = _caption(f"Fine-tuning methods under the {legend.scores[score]} score", shown, [names.FPR_ID])
    notes = _set_notes(rows) + _number_notes(shown, frame, columns, legend) + _collapse_notes(rows, largest, legend)
    return Table(caption, stubs, columns, frame, legend, notes)


def scores(rows: pl.DataFrame) -> Table:
    """Lay out the scores table: a row a method and score, means over near and far OOD, both conventions."""
    shown, legend = select.at_largest_shots(rows), Legend.of(rows)
    stubs = ["method", "score", "shots"]
    values = _long(select.kind_means(shown, RATES), RATES, stubs, pl.col("ood_kind"))
    columns = [
        Column(f"{kind}.{metric}", (header, _metric(metric)), names.BETTER[metric])
        for kind, header in _kind_headers(rows).items()
        for metric in RATES
    ]
    frame = _frame(shown, stubs, columns, values)
    what = "Methods and scores, averaged over near and over far OOD sets"
    notes = [] if columns else ["This pair has no near or far OOD set that could be averaged."]
    notes += _left_out(rows) + _number_notes(shown, frame, columns, legend)
    return Table(_caption(what, shown, [names.FPR_ID, names.FPR_OOD]), stubs, columns, frame, legend, notes)


def streams(rows: pl.DataFrame) -> Table:
    """Lay out the table of transductive scores: as the scores table; orders of the stream count as seeds do."""
    table = scores(select.orders_as_seeds(rows))
    first, *others = table.caption
    about = [
        "Transductive scores: the value of a sample depends on those before it in a stream of ID and OOD samples, so "
        f"no number here compares with a score of single samples. {first}",
        "Mean ± sample standard deviation over seeds and over the orders of the stream that were run.",
    ]
    return replace(table, caption=about + [line for line in others if not line.startswith("Shots: ")])


def full(rows: pl.DataFrame) -> pl.DataFrame:
    """Return every row of the pair, at all shots and seeds, fractions as percent and named so.

    `below_zero_shot` marks fits that classify ID worse than zero-shot does, as collapsed ones.
    """
    keys = ["method", "shots", "seed"]
    below = select.below_zero_shot(rows).select(*keys, below_zero_shot=pl.lit(True))
    rows = rows.join(below, on=keys, how="left", maintain_order="left").with_columns(
        pl.col("below_zero_shot").fill_null(False)
    )
    numbers = [name for name in rows.columns if name.startswith(("auroc", "fpr95", "aupr", "id_accuracy"))]
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


# --------------------------------------------------------------------------------------------------- columns


def _kind_columns(rows: pl.DataFrame, kind: str) -> list[Column]:
    """Return the main table's columns of one kind: its OOD sets, and their average where it has several."""
    of_kind = select.of_kind(rows, kind).select("ood_dataset", "overlap").unique(maintain_order=True)
    averaged = kind in select.AVERAGED
    columns = []
    for name, overlap in of_kind.rows():
        header = (names.KINDS[kind], f"{name}†" if overlap else name)
        columns += _set_columns(f"{kind}.{name}", header, ranked=averaged and not overlap)
    if averaged and len(of_kind.filter(~pl.col("overlap"))) > 1:
        columns += _set_columns(f"{kind}.{_average(rows)}", (names.KINDS[kind], "Average"), ranked=True)
    return columns


def _average(rows: pl.DataFrame) -> str:
    """Return the name of the averages among the sets: "average", where no set has that name."""
    return "average" if "average" not in rows["ood_dataset"] else ".average"  # no name begins with a dot


def _set_columns(where: str, header: tuple[str, str], ranked: bool) -> list[Column]:
    return [
        Column(f"{where}.{metric}", (*header, _metric(metric, arrow=ranked)), names.BETTER[metric] if ranked else "")
        for metric in SHOWN
    ]


def _kind_headers(rows: pl.DataFrame) -> dict[str, str]:
    """Return the headers of the kinds that have sets to average, saying over how many."""
    shown = select.shown_sets(rows)
    sets = {kind: select.names(select.of_kind(shown, kind), "ood_dataset") for kind in select.AVERAGED}
    return {
        kind: f"{names.KINDS[kind]} ({found[0] if len(found) == 1 else f'mean of {len(found)} sets'})"
        for kind, found in sets.items()
        if found
    }


def _metric(metric: str, arrow: bool = True) -> str:
    return f"{names.METRICS[metric]} {names.BETTER[metric]}" if arrow else names.METRICS[metric]


# --------------------------------------------------------------------------------------------------- numbers


def _long(rows: pl.DataFrame, metrics: Sequence[str], stubs: list[str], where: pl.Expr) -> pl.DataFrame:
    """Return one row a number: the stubs, seed, key (`where`.metric), value."""
    keyed = rows.select(*stubs, "seed", *metrics, where=where)
    long = keyed.unpivot(metrics, index=[*stubs, "seed", "where"], variable_name="metric")
    value = pl.col("value").cast(pl.Float64)
    return long.select(*stubs, "seed", key=pl.format("{}.{}", "where", "metric"), value=value)


def _frame(shown: pl.DataFrame, stubs: list[str], columns: list[Column], values: pl.DataFrame) -> pl.DataFrame:
    """Return the table's frame: stubs, seeds with numbers, then mean and std over seeds of every column."""
    stats = select.over_seeds(values, [*stubs, "key"])
    worked = pl.col("seed").filter(pl.col("status") == "ok").n_unique()
    frame = shown.group_by(*stubs, maintain_order=True).agg(seeds=worked)
    for column in columns:
        own = stats.filter(pl.col("key") == column.key)
        own = own.select(*stubs, pl.col("mean").alias(column.key), pl.col("std").alias(f"{column.key}_std"))
        frame = frame.join(own, on=stubs, how="left", maintain_order="left")
    return frame


# ----------------------------------------------------------------------------------------- captions and notes


def _caption(what: str, shown: pl.DataFrame, conventions: list[str]) -> list[str]:
    seeds = shown.group_by("method").agg(pl.col("seed").n_unique())["seed"].max()
    shots = "Shots: labelled training images a class, the largest number run for the method."
    spread = f"Mean ± sample standard deviation over {seeds} seeds; one seed has no ±."
    return [
        f"{what}: {shown['id_dataset'][0]} with {shown['backbone'][0]}. All numbers in percent.",
        *(f"{name}: {CONVENTIONS[name]}" for name in conventions),
        f"{shots} {spread if seeds > 1 else 'One seed.'}",
        "Best in bold, second underlined; averages are over all OOD sets of the kind, seed by seed.",
    ]


def _set_notes(rows: pl.DataFrame) -> list[str]:
    """Return what a reader must know of the marked columns of the main table."""
    notes = []
    if rows["overlap"].any():
        notes.append(
            "† Classes of this OOD set overlap the ID classes: a check of arithmetic, in no average or figure."
        )
    if "covariate" in rows["ood_kind"]:
        notes.append(
            "Covariate shift: the ID classes under changed conditions. Whether to flag them depends on the use: "
            "no direction is better, and they are in no average."
        )
    return notes


def _left_out(rows: pl.DataFrame) -> list[str]:
    """Return which OOD sets the averages of the scores table do not hold, and why."""
    overlapping = rows.filter(pl.col("overlap"))
    covariate = select.of_kind(rows, "covariate").filter(~pl.col("overlap"))
    reasons = {"its classes overlap the ID classes": overlapping, "covariate shift": covariate}
    parts = [f"{name} ({why})" for why, sets in reasons.items() for name in select.names(sets, "ood_dataset")]
    return [f"Left out of the averages: {', '.join(parts)}."] if parts else []


def _number_notes(shown: pl.DataFrame, frame: pl.DataFrame, columns: list[Column], legend: Legend) -> list[str]:
    """Return what `--` stands for, and where a mean is over fewer seeds or sets than the others."""
    partly = (pl.col("status") == "ok").any().over("method", "score", "shots")
    missing = pl.col("status") != "ok"
    fewer, none = shown.filter(missing, partly), shown.filter(missing, ~partly)
    remarked = shown.filter(~missing, pl.col("reason").fill_null("") != "")
    each = remarked.with_columns(pl.col("reason").str.split("; ")).explode("reason")
    notes = [f"Mind: {_remarks(each, shown, legend)}."] if len(each) else []
    notes += [f"Incomplete, means are over what worked: {_reasons(fewer, shown, legend)}."] if len(fewer) else []
    if any(frame[column.key].null_count() for column in columns):
        notes.append(
            f"-- no number. {_reasons(none, shown, legend)}." if len(none) else "-- no number for every set and seed."
        )
    return notes


def _collapse_notes(rows: pl.DataFrame, shown: pl.DataFrame, legend: Legend) -> list[str]:
    """Return which of the fits shown classify ID worse than zero-shot does."""
    below = select.below_zero_shot(rows).join(shown, on=["method", "shots", "seed"], how="semi", maintain_order="left")
    if below.is_empty():
        return []
    floor = select.id_accuracies(rows).filter(pl.col("method") == "zero_shot")["id_accuracy"][0]
    parts = []
    for (method,), fits in below.group_by("method", maintain_order=True):
        seeds = shown.filter(pl.col("method") == method)["seed"].n_unique()
        lowest = select.percent(fits["id_accuracy"].min())
        parts.append(f"{legend.methods[method]} {len(fits)} of {seeds} seeds (lowest {lowest})")
    return [f"Below the ID accuracy of zero-shot ({select.percent(floor)}), as a collapsed fit is: {', '.join(parts)}."]


def _remarks(remarked: pl.DataFrame, shown: pl.DataFrame, legend: Legend) -> str:
    """Return each remark on fits once, after the methods it is about, with the seeds where it is not about all."""
    fits = {method: rows["seed"].n_unique() for (method,), rows in shown.group_by("method", maintain_order=True)}
    parts = []
    for (remark,), group in remarked.group_by("reason", maintain_order=True):
        which = []
        for (method,), rows in group.group_by("method", maintain_order=True):
            seeds = rows["seed"].n_unique()
            some = "" if seeds == fits[method] else f" ({seeds} of {fits[method]} seeds)"
            which.append(legend.methods[method] + some)
        parts.append(f"{', '.join(which)}: {remark}")
    return "; ".join(parts)


def _reasons(missing: pl.DataFrame, shown: pl.DataFrame, legend: Legend) -> str:
    """Return each reason once, after the methods (and scores, where the table shows several) it is about."""
    parts = []
    for (reason,), group in missing.group_by("reason", maintain_order=True):
        which = ", ".join(map(legend.methods.__getitem__, select.names(group, "method")))
        if shown["score"].n_unique() > 1:
            which += f" ({', '.join(map(legend.scores.__getitem__, select.names(group, 'score')))})"
        parts.append(f"{which}: {reason}")
    return "; ".join(parts)
