"""What stands under the tables: how to read their numbers, and where a number is not what it seems."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from oodgrid.counts import counted
from oodgrid.report import names, select, words
from oodgrid.report.evaluated import ROW, Evaluated
from oodgrid.report.names import Legend
from oodgrid.report.render import Column
from oodgrid.report.select import percent

CONVENTIONS = {
    names.FPR_ID: "ID is the positive class: share of OOD samples kept where 95 % of the ID samples are kept.",
    names.FPR_OOD: "OOD is the positive class: share of ID samples flagged where 95 % of the OOD samples are flagged.",
}
MANY_TIES = 0.01  # share of tied pairs above which a score is named
MOST_NAMED = 8
SHORT = {"id_accuracy": "ID acc.", **names.METRICS}


def leaders(of_all: str, bold: bool) -> list[str]:
    """Return how to read a leaderboard: a few rows out of many."""
    return [f"Bold: the best of the column among {of_all}, shown or not, or not distinguishable from it."] * bold


def bold(frame: pl.DataFrame, family: str) -> list[str]:
    """Return what bold means: the best set among a family of rows; nothing where nothing is bold."""
    marks = [name for name in frame.columns if name.endswith(".best")]
    if not any(frame[name].any() for name in marks):
        return []
    return [
        f"Bold: the best set of a column, that is its best number and all that differ from it by no more than chance "
        f"among {family} (paired on the same samples, one-sided at 5 %, corrected for the number of rows)."
    ]


def seeds(frame: pl.DataFrame, columns: Sequence[Column], legend: Legend) -> list[str]:
    """Return how much the seeds differ, which an interval of the expected performance does not say."""
    deviations = [frame.select("method", sd=f"{c.key}.seed_sd", key=pl.lit(c.header[-1])) for c in columns]
    every = pl.concat(deviations).drop_nulls("sd") if deviations else pl.DataFrame()
    if every.is_empty():
        return []
    worst = every.sort("sd", descending=True, maintain_order=True).row(0, named=True)
    count, middle = frame.select(pl.max("seeds")).item(), every.select(pl.median("sd")).item()
    return [
        f"Standard deviation over {counted(count, 'seed')}: median {percent(middle, 1)}, at most "
        f"{percent(worst['sd'], 1)} ({legend.methods[worst['method']]}, {worst['key'].rstrip(' ↑↓')})."
    ]


def lacking_fits(pair: Evaluated, frame: pl.DataFrame, columns: Sequence[Column], legend: Legend) -> list[str]:
    """Return which intervals take the variance of fits from elsewhere, or lack it."""
    seeds = frame.group_by(*ROW[:2], maintain_order=True).agg(of_frame=pl.col("seeds").max())
    means = [pair.means(column.metric, column.scope, column.ood_dataset) for column in columns]
    printed = pl.concat(means) if means else pair.summary.clear()
    shown = seeds.join(printed.filter(pl.col("se").is_not_null()), on=ROW[:2], how="inner", maintain_order="left")
    told = {
        "unknown": "so that intervals lack the variance of fits",
        "pooled": "variance of fits taken from the others",
    }
    lines = []
    for several, why in ((False, "One seed"), (True, "Seeds that gave equal numbers, which count as one")):
        for kind, consequence in told.items():
            rows = shown.filter(pl.col("fits") == kind, (pl.col("of_frame") > 1) == several)
            parts = [
                legend.methods[name] + _of_metrics(rows.filter(method=name), several)
                for name in select.names(rows, "method")
            ]
            lines += [f"{why}, {consequence}: {', '.join(parts)}."] * bool(parts)
    return lines


def optimism(pair: Evaluated, legend: Legend, chosen: bool) -> list[str]:
    """Return how far the number of the best of all methods and scores is overstated by its being picked."""
    best = pair.differences("best", "auroc", "overall").filter("is_best", pl.col("optimism").is_not_null())
    if not chosen or best.is_empty():
        return []
    row = best.row(0, named=True)
    return [
        f"The best of {row['rows']} ({legend.methods[row['method']]} with {legend.scores[row['score']]}) was picked by "
        f"these results: its overall AUROC is expected to be overstated by {words.optimism(row['optimism'])}."
    ]


def averages(pair: Evaluated) -> list[str]:
    """Return over which sets the means are, and which are in none and why."""
    rows = pair.metrics
    shown = select.shown_sets(rows)
    means = [
        f"{names.KINDS[kind]}: {', '.join(oods)}"
        for kind in select.AVERAGED
        if (oods := select.names(select.of_kind(shown, kind), "ood_dataset"))
    ]
    lines = [f"{'; '.join(means)}."] if means else ["This pair has no near or far OOD set that could be averaged."]
    overlapping = rows.filter(pl.col("overlap"))
    covariate = select.of_kind(rows, "covariate").filter(~pl.col("overlap"))
    reasons = {"its classes overlap the ID classes": overlapping, "covariate shift": covariate}
    parts = [f"{name} ({why})" for why, of in reasons.items() for name in select.names(of, "ood_dataset")]
    return [*lines, f"Left out of the averages: {', '.join(parts)}."] if parts else lines


def fpr(conventions: Sequence[str]) -> list[str]:
    """Return conventions of FPR in words."""
    return [f"{name}: {CONVENTIONS[name]}" for name in conventions]


def shots(shown: pl.DataFrame, legend: Legend) -> list[str]:
    """Return how many labelled samples a class the fits had."""
    shown = select.ok(shown)
    trained = shown.filter(pl.col("shots") > 0).select("method", "shots").unique(maintain_order=True)
    counts = trained["shots"].unique()
    if not len(counts):
        return []
    if len(counts) == 1:
        none = "; zero-shot on none" if len(shown.filter(pl.col("shots") == 0)) else ""
        return [f"Fits on {counted(counts[0], 'labelled sample')} per class{none}."]
    each = "; ".join(
        f"{count}: {_methods(of['method'].to_list(), legend)}"
        for (count,), of in trained.group_by("shots", maintain_order=True)
    )
    return [f"Shots are labelled samples per class, the largest number that was run: {each}."]


def ties(pair: Evaluated, frame: pl.DataFrame, legend: Legend) -> list[str]:
    """Return the rows many of whose pairs of an ID and an OOD sample have equal scores, as saturated scores have."""
    tied = pair.means("auroc", "overall").filter(pl.col("tied") > MANY_TIES)
    tied = tied.join(frame.select(ROW).unique(), on=ROW, how="semi", maintain_order="left")
    if tied.is_empty():
        return []
    named = tied.sort("tied", descending=True, maintain_order=True)
    parts = [
        f"{legend.methods[row['method']]} with {legend.scores[row['score']]} {percent(row['tied'], 1)} %"
        for row in named.head(MOST_NAMED).iter_rows(named=True)
    ]
    more = len(named) - MOST_NAMED
    return [f"Many ties, of ID with OOD samples (half counted): {', '.join(parts)}{f' and {more} more' * (more > 0)}."]


def jumps(frame: pl.DataFrame, columns: Sequence[Column], legend: Legend) -> list[str]:
    """Return which numbers are compared with no other, because a rate jumps with its threshold.

    Those are the numbers of ranked columns without a mark `<key>.best`. Columns of one rate that lack the same rows
    share a line.
    """
    blocks = frame["block"].unique(maintain_order=True).to_list() if "block" in frame.columns else [None]
    places: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
    for column in (column for column in columns if column.ranked):
        scope = column.ood_dataset or names.KINDS.get(column.scope, column.scope)
        for block in blocks:
            of_block = frame if block is None else frame.filter(block=block)
            known = of_block.filter(pl.col(column.key).is_not_null())
            if untold := _some(known.filter(pl.col(f"{column.key}.best").is_null()), len(known), legend):
                places.setdefault((column.metric, untold), []).append((scope, block))
    return [
        f"{SHORT[metric]}, {_places(where, blocks)}: no comparison, and so no bold, of {rows}: its rate, or that of "
        "the best, jumps with its threshold, where fewer than 200 samples are on that side or many of them tie."
        for (metric, rows), where in places.items()
    ]


def marked_sets(rows: pl.DataFrame) -> list[str]:
    """Return what a reader must know of marked columns."""
    lines = []
    if rows["overlap"].any():
        lines.append("† Its classes overlap the ID classes: a check of arithmetic, in no average or figure.")
    if "covariate" in rows["ood_kind"]:
        lines.append(
            "Covariate shift: the ID classes under changed conditions. Whether to flag them depends on the use: "
            "no direction is better, and they are in no average."
        )
    return lines


def missing(shown: pl.DataFrame, frame: pl.DataFrame, columns: Sequence[Column], legend: Legend) -> list[str]:
    """Return what `--` stands for, and where a mean is over fewer seeds or sets than the others."""
    partly = (pl.col("status") == "ok").any().over("method", "score", "shots")
    lacking = pl.col("status") != "ok"
    fewer, none = shown.filter(lacking, partly), shown.filter(lacking, ~partly)
    lines = _remarked(shown, legend)
    lines += [f"Incomplete, means are over what worked: {_reasons(fewer, shown, legend)}."] if len(fewer) else []
    of_scores = [column for column in columns if column.metric != "id_accuracy"]
    if len(of_scores) < len(columns) and select.ANY in frame["method"]:
        lines.append(
            f"{legend.methods[select.ANY]}: a score of features, the same for methods that leave these alone; it needs "
            "no classifier, so there is no ID accuracy."
        )
    if any(frame[column.key].null_count() for column in of_scores):
        lines.append(
            f"-- no number. {_reasons(none, shown, legend)}." if len(none) else "-- no number for every set and seed."
        )
    return lines


def remarked(pair: Evaluated, frame: pl.DataFrame, legend: Legend) -> list[str]:
    """Return what a run says of fits in the rows of a table: of a limit, of an oracle, of adaptation."""
    shown = pair.metrics.join(frame.select(ROW), on=ROW, how="semi", maintain_order="left")
    return _remarked(shown, legend)


def collapsed(rows: pl.DataFrame, shown: pl.DataFrame, legend: Legend) -> list[str]:
    """Return which of the fits shown classify ID worse than zero-shot does."""
    below = select.below_zero_shot(rows).join(shown, on=["method", "shots", "seed"], how="semi", maintain_order="left")
    if below.is_empty():
        return []
    floor = select.id_accuracies(rows).filter(pl.col("method") == "zero_shot")["id_accuracy"][0]
    parts = []
    for (method,), fits in below.group_by("method", maintain_order=True):
        seeds = shown.filter(pl.col("method") == method)["seed"].n_unique()
        lowest = percent(fits.select(pl.min("id_accuracy")).item(), 1)
        parts.append(f"{legend.methods[method]} {len(fits)} of {counted(seeds, 'seed')} (lowest {lowest})")
    return [f"Below the ID accuracy of zero-shot ({percent(floor, 1)}), as a collapsed fit is: {', '.join(parts)}."]


def _some(rows: pl.DataFrame, of: int, legend: Legend) -> str:
    """Return the names of rows; that it is any where it is all of more than one, and nothing where there is none."""
    if 1 < len(rows) == of:
        return "any row"
    parts = [
        f"{legend.methods[method]} with {legend.scores[score]}"
        for method, score in rows.select("method", "score").rows()
    ]
    more = len(parts) - MOST_NAMED
    return ", ".join(parts[:MOST_NAMED]) + f" and {more} more" * (more > 0)


def _places(where: Sequence[tuple[str, str | None]], blocks: Sequence[str | None]) -> str:
    """Return scopes in words, with the block of each where it does not hold in every one."""
    parts = []
    for scope in dict.fromkeys(scope for scope, _ in where):
        of_scope = [block.partition(",")[0] for each, block in where if each == scope and block]
        some = [f" {block[0].lower()}{block[1:]}" for block in of_scope if len(of_scope) < len(blocks)]
        parts.append(scope + " and".join(some))
    return ", ".join(parts)


def _of_metrics(rows: pl.DataFrame, several: bool) -> str:
    """Return of which metrics that is, where there are several seeds, which may be equal in one and not in others."""
    return f" ({', '.join(SHORT.get(name, name) for name in select.names(rows, 'metric'))})" if several else ""


def _remarked(shown: pl.DataFrame, legend: Legend) -> list[str]:
    with_reason = shown.filter(pl.col("status") == "ok", pl.col("reason").fill_null("") != "")
    each = with_reason.with_columns(pl.col("reason").str.split("; ")).explode("reason")
    return [f"Mind: {_remarks(each, shown, legend)}."] if len(each) else []


def _methods(methods: Sequence[str], legend: Legend) -> str:
    return ", ".join(legend.methods[name] for name in methods)


def _remarks(remarked: pl.DataFrame, shown: pl.DataFrame, legend: Legend) -> str:
    """Return each remark on fits once, after the methods it is about, with the seeds where it is not about all."""
    fits = {method: rows["seed"].n_unique() for (method,), rows in shown.group_by("method", maintain_order=True)}
    parts = []
    for (remark,), group in remarked.group_by("reason", maintain_order=True):
        which = []
        for (method,), rows in group.group_by("method", maintain_order=True):
            seeds = rows["seed"].n_unique()
            some = "" if seeds == fits[method] else f" ({seeds} of {counted(fits[method], 'seed')})"
            which.append(legend.methods[method] + some)
        every = which == [legend.methods[method] for method in fits]
        parts.append(f"{'every row' if every and len(which) > 1 else ', '.join(which)}: {remark}")
    return "; ".join(parts)


def _reasons(absent: pl.DataFrame, shown: pl.DataFrame, legend: Legend) -> str:
    """Return each reason once, after the methods (and scores, where the table shows several) it is about."""
    parts = []
    for (reason,), group in absent.group_by("reason", maintain_order=True):
        which = ", ".join(map(legend.methods.__getitem__, select.names(group, "method")))
        if shown["score"].n_unique() > 1:
            which += f" ({', '.join(map(legend.scores.__getitem__, select.names(group, 'score')))})"
        parts.append(f"{which}: {reason}")
    return "; ".join(parts)
