"""Words of the answer: names, numbers with their intervals, and differences."""

from __future__ import annotations

from typing import Any

import polars as pl

from oodgrid.report import select
from oodgrid.report.evaluated import Evaluated
from oodgrid.report.names import Legend
from oodgrid.report.render import escape_markdown
from oodgrid.report.select import percent

NAMED = 5  # rows named in a sentence; others are counted
PAIR = "pair of method and score"
CHANCE = 0.5  # AUROC of a score that tells nothing
Row = dict[str, Any]


def scopes(pair: Evaluated) -> list[str]:
    """Return the averages that there are: overall and, where both kinds have sets, near and far."""
    there = [scope for scope in ("near", "far") if len(pair.means("auroc", scope))]
    return [] if not there or pair.means("auroc", "overall").is_empty() else ["overall", *there * (len(there) > 1)]


def compared(pair: Evaluated) -> int:
    """Return how many rows are compared with the best of all: methods under scores that have a number."""
    rows = pair.comparisons.filter(pl.col("against") == "best", pl.col("metric") == "auroc", "largest")
    return rows.select("method", "score").n_unique()


def best_row(pair: Evaluated, scope: str) -> Row:
    """Return the best row of an average among all methods and scores."""
    return pair.differences("best", "auroc", scope).filter("is_best").row(0, named=True)


def all_alike(pair: Evaluated, scope: str) -> bool:
    """Return whether all of several rows have the same number, so that none is best."""
    rows = pair.differences("best", "auroc", scope)
    return len(rows) > 1 and bool((rows["diff"] == 0).all())


def only_best(pair: Evaluated) -> tuple[str, str] | None:
    """Return the best of all averages, where that is one row."""
    rows = {(row["method"], row["score"]) for row in (best_row(pair, scope) for scope in scopes(pair))}
    return next(iter(rows)) if len(rows) == 1 else None


def at(rows: pl.DataFrame, row: Row, of_score: bool = True) -> Row | None:
    """Return the row of the same method, shots and, where that matters, score."""
    keys = ("method", "shots", "score") if of_score else ("method", "shots")
    same = rows.filter(*(pl.col(key) == row[key] for key in keys))
    return same.row(0, named=True) if len(same) else None


def title(pair: Evaluated, scope: str, mean: Row | None) -> str:
    """Return an average in words, with the number of its sets."""
    count, only = mean["sets"] if mean else 0, only_kind(pair)
    what = "sets" if pair.summary["id_dataset"].null_count() == 0 else "pairs of ID and OOD set"
    about = [f"{only} OOD alone"] * (scope == "overall" and only is not None) + [f"mean of {count} {what}"] * (
        count > 1
    )
    kind = "overall" if scope == "overall" else f"for {scope} OOD"
    return f"{kind} ({', '.join(about)})" if about else kind


def only_kind(pair: Evaluated) -> str | None:
    """Return the kind of OOD that is all of the overall mean, where there is only one."""
    kinds = [scope for scope in ("near", "far") if len(pair.means("auroc", scope))]
    return kinds[0] if len(kinds) == 1 else None


def against(pair: Evaluated, scope: str, row: Row) -> str:
    """Return the difference to zero-shot with MCM as the rest of a sentence; nothing where there is none."""
    difference = at(pair.differences("zero_shot_mcm", "auroc", scope), row)
    if difference is None:
        return ""
    if (difference["reference_method"], difference["reference_score"]) == (row["method"], row["score"]):
        return ", and is the baseline itself"
    return f", {points(difference)} to zero-shot with MCM{unsure(difference)}"


def unsure(difference: Row) -> str:
    """Return how a difference is none that can be told from chance; nothing where it can."""
    if difference["distinguishable"]:
        return ""
    lo, hi = difference["lo"], difference["hi"]
    alone = lo is not None and (lo > 0 or hi < 0)
    return f" (not distinguishable{' once corrected for all rows' * alone})"


def optimism(amount: float) -> str:
    """Return by how much a picked best is expected to be overstated."""
    return f"about {percent(amount, 1)} points" if amount >= 0.0005 else "less than 0.1 points"  # of percent


def interval(row: Row | None, value: str) -> str:
    """Return a number with its interval, in percent."""
    if row is None:
        return "--"
    ends = f" [{percent(row['lo'], 1)}, {percent(row['hi'], 1)}]" if row["lo"] is not None else ""
    return percent(row[value], 1) + ends


def points(row: Row, flip: bool = False) -> str:
    """Return a difference with its interval, in points; `flip` turns it round."""
    ends = (row["diff"], row["lo"], row["hi"])
    diff, lo, hi = (-ends[0], *(end if end is None else -end for end in (ends[2], ends[1]))) if flip else ends
    text = f"{percent(diff, 1, signed=True)}"
    return text if lo is None else f"{text} [{percent(lo, 1, signed=True)}, {percent(hi, 1, signed=True)}]"


def counted(rows: pl.DataFrame) -> dict[str, int]:
    """Return how many differences are distinguishably better, worse, or neither."""
    sure = rows.filter("distinguishable")
    better = len(sure.filter(pl.col("diff") > 0))
    return {"better": better, "worse": len(sure) - better, "noise": len(rows) - len(sure)}


def name(row: Row, legend: Legend) -> str:
    """Return a pair of method and score in words."""
    score = escape_markdown(legend.scores[row["score"]])
    return f"{score} (any method)" if row["method"] == select.ANY else f"{method(row, legend)} with {score}"


def method(row: Row, legend: Legend) -> str:
    """Return the title of a row's method."""
    return escape_markdown(legend.methods[row["method"]])


def named(parts: list[str]) -> str:
    """Return the first of some things, and how many more there are."""
    more = len(parts) - NAMED
    return ", ".join(parts[:NAMED]) + (f" and {more} more" if more > 0 else "")


def listed(parts: list[str]) -> str:
    """Return things in brackets; nothing where there are none."""
    return f" ({named(parts)})" if parts else ""
