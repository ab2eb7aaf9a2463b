"""Estimates for anybody's own unlabelled scores, with the error bars of a bench: what `oodgrid estimate` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodgrid import manifests, paths, store
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, brief
from oodgrid.evaluate.estimate.bench import FEWEST_ID, FEWEST_OOD
from oodgrid.evaluate.estimate.clusters import Clusters, two_clusters
from oodgrid.evaluate.estimate.indicators import Pool, common_share, indicators, least_share, pool_of, reach_above
from oodgrid.evaluate.estimate.predictions import RATES, SMALLEST_SHARE, silence, standard_error, sure_area, unmixed
from oodgrid.evaluate.estimate.regression import LINES, predict
from oodgrid.evaluate.intervals import Z
from oodgrid.evaluate.score_csv import Dialect
from oodgrid.evaluate.score_files import check_dialect, read_column
from oodgrid.identity import is_file, is_there

FEW = 5  # scores: of fewer the share is not much surer than of one, and the wider of both error bars is given
OURS = "clip_b32.json"  # the errors of experiments/clip-b32-estimate.yaml
A_BENCH = "a bench is the estimates.parquet of an experiment with `estimate: true`"
Scores = Mapping[str, ArrayLike]


def read_bench(path: str | Path | None = None) -> manifests.Estimates:
    """Return what is known of a bench: from an estimates.parquet, or the one that this package brings.

    Raises:
        OodgridError: The file is missing, damaged or none, or holds no set, no error or lines of other indicators.
    """
    if path is None:
        with resources.as_file(resources.files("oodgrid.evaluate.estimate") / OURS) as file:
            return manifests.read(file, manifests.Estimates)
    file = Path(path)
    if not is_file(file):
        raise OodgridError(f"{file}: {'is a folder' if is_there(file) else 'no such file'}: {A_BENCH}")
    try:
        bench = manifests.read(file, manifests.Estimates)
    except OodgridError as error:
        if file.name == paths.estimates(Path(), "").name:
            raise
        reason = str(error).removesuffix(store.mend(file)).rstrip(". ")  # what to delete is not told of any file
        raise OodgridError(f"{reason}: {A_BENCH}") from error
    if not bench.sets or not bench.errors:
        raise OodgridError(f"{file} holds no set of a bench: take one of an experiment with more samples")
    for line in bench.lines:
        if line.weights.keys() != {"intercept", *LINES.get(line.estimator, ())}:
            raise OodgridError(f"{file}: its line {brief(line.estimator)} is of other indicators than ours: {A_BENCH}")
    return bench


NEEDED = {  # by estimator, by what share its error bar is looked up
    **dict.fromkeys(("unmixed", "alone", "regression", "regression_alone"), "estimated"),
    **{"known": "share", "clusters": "all"},
}


def needed(bench: manifests.Estimates) -> manifests.Estimates:
    """Return what estimates take of a bench, without the estimators that are there for comparison."""
    errors = [each for each in bench.errors if NEEDED.get(each.estimator) == each.by]
    lines = [each for each in bench.lines if each.estimator in NEEDED]
    return bench.model_copy(update={"errors": errors, "lines": lines})


def check_share(share: Any) -> float:
    """Return a share of OOD samples that is given.

    Raises:
        OodgridError: It is no number between 0 and 1.
    """
    if not isinstance(share, float | int | np.floating | np.integer) or not 0 < share < 1:
        raise OodgridError(
            f"a share of OOD samples of {brief(share)}: it is a number that lies between 0 and 1, as .5 for half"
        )
    return float(share)


def estimate(
    validation: Scores, pool: Scores, bench: manifests.Estimates, share: float | None = None
) -> list[dict[str, Any]]:
    """Return for every score of one pool what can be said of it, or why nothing can.

    Args:
        validation: Scores of ID samples that are not in the pool, by score, each of shape (N,).
        pool: Scores of the unlabelled samples, by the same names, each of shape (M,).
        bench: Where the error bars are from.
        share: Of OOD samples in the pool, where it is known.

    Returns:
        Dictionaries with `score`, `n_validation`, `n_pool`, `ood_share` and `share_from`; `status`, "ok" or "nothing",
        and `reason`; `above_validation`, see `reach_above`; each rate with `_lo` and `_hi`, and as `regression_…`, and
        `auroc_sure_lo` and `_hi`, see `sure_area`; None where nothing can be said; indicators.

    Raises:
        OodgridError: Scores are not one-dimensional, finite numbers, or not of the same samples, or the share is none.
    """
    share = None if share is None else check_share(share)
    pools = {name: pool_of(validation[name], scores) for name, scores in pool.items()}
    _check_sizes(pools)
    known = {name: indicators(each) for name, each in pools.items()}
    common = common_share([each["own_share"] for each in known.values()], [each.counts for each in pools.values()])
    least = max(least_share(each.counts, len(pools)) for each in pools.values())
    bounds = (share, share) if share is not None else (max(least, SMALLEST_SHARE), 1.0)
    source = "given" if share is not None else "this score" if len(pools) < 2 else counted(len(pools), "score")
    rows = []
    for name, each in pools.items():
        of_pool = share if share is not None else common
        reason = silence(each, of_pool, known=share is not None)
        about = {"score": name, "n_validation": each.counts.n_id, "n_pool": each.counts.n_ood}
        about |= {"ood_share": of_pool, "share_from": source, "status": "nothing" if reason else "ok", "reason": reason}
        about["above_validation"] = reach_above(each.counts)
        estimators: tuple[str, ...] = ("known",) if share is not None else ("alone", "unmixed")
        if share is None and not 1 < len(pools) < FEW:
            estimators = estimators[:1] if len(pools) == 1 else estimators[1:]
        rates = dict.fromkeys(f"{kind}{rate}{end}" for kind in ("", "regression_") for rate in RATES for end in ENDS)
        rates |= dict.fromkeys(SURE)
        if not reason:
            rates |= _rates(each, of_pool, estimators, bench)
            rates |= dict(zip(SURE, sure_area(each.counts, bounds), strict=True))
        if not reason and share is None:  # lines are learned with shares that are estimated
            rates |= _by_regression(each, known[name], of_pool, "alone" in estimators, bench)
        rows.append(about | rates | known[name])
    return rows


def _check_sizes(pools: Mapping[str, Pool]) -> None:
    """Refuse scores that are not of the same samples, as far as their number tells."""
    for side, sizes in (
        ("validation", {name: each.counts.n_id for name, each in pools.items()}),
        ("the pool", {name: each.counts.n_ood for name, each in pools.items()}),
    ):
        first, size = next(iter(sizes.items()))
        if other := next((name for name in sizes if sizes[name] != size), None):
            raise OodgridError(
                f"{side} has {counted(sizes[other], 'score')} of {brief(other)} and {size:,} of {brief(first)}: "
                "several scores of one pool are of the same samples; estimate each pool by itself"
            )


ENDS = ("", "_lo", "_hi")
SURE = ("auroc_sure_lo", "auroc_sure_hi")


def without_validation(pool: Mapping[str, NDArray[np.float64]], bench: manifests.Estimates) -> list[dict[str, Any]]:
    """Return for every score what its two clusters say, were the lower one OOD; whether it is, nothing tells.

    Args: as of `estimate`.
    """
    rows = []
    for name, scores in pool.items():
        clusters = two_clusters(scores)
        reason = _clusterless(clusters, len(scores))
        about = {"score": name, "n_validation": 0, "n_pool": len(scores), "ood_share": clusters.share}
        about |= {"share_from": "its clusters", "status": "nothing" if reason else "ok", "reason": reason}
        rates: dict[str, float | None] = dict.fromkeys(f"{rate}{end}" for rate in RATES for end in ENDS)
        if not reason:
            for rate, value in clusters.rates().items():
                rates |= _with_ends(rate, value, _bar(bench, rate, "clusters", None))
        rows.append(about | rates | {"separation": clusters.separation})
    return rows


def _clusterless(clusters: Clusters, size: int) -> str | None:
    """Return why two clusters say nothing of a pool of that size; None where they do."""
    if not clusters.deviations[0]:
        return "all scores of the pool are equal"
    lower = round(clusters.share * size)
    if lower < FEWEST_OOD or size - lower < FEWEST_ID:
        return (
            f"its clusters hold {lower:,} and {counted(size - lower, 'sample')}: at least {FEWEST_OOD} and {FEWEST_ID} "
            "are needed, as any set of a bench has"
        )
    return None


def _rates(pool: Pool, share: float, estimators: Sequence[str], bench: manifests.Estimates) -> dict[str, float | None]:
    """Return every rate unmixed, with its ends, the widest of these estimators."""
    rates: dict[str, float | None] = {}
    chance = Z * standard_error(pool.counts, share)
    for rate, value in unmixed(pool.counts, share).items():
        bars = [bar for each in estimators if (bar := _bar(bench, rate, each, share)) is not None]
        bars += [chance] if bars and rate == "auroc" else []
        rates |= _with_ends(rate, value, max(bars, default=None))
    return rates


def _by_regression(
    pool: Pool, known: Mapping[str, float], share: float, by_itself: bool, bench: manifests.Estimates
) -> dict[str, float | None]:
    """Return every rate by the regression of the bench, with its ends."""
    rates: dict[str, float | None] = {}
    alone = unmixed(pool.counts, max(known["own_share"], SMALLEST_SHARE))["auroc"]
    values = dict(known) | {"clusters": pool.clusters.rates()["auroc"], "alone_auroc": alone, "common_share": share}
    values |= {"unmixed_auroc": unmixed(pool.counts, share)["auroc"]}
    by = "regression_alone" if by_itself else "regression"
    for line in (line for line in bench.lines if line.estimator == by):
        bar = _bar(bench, line.rate, by, share)
        rates |= _with_ends(f"regression_{line.rate}", predict(line.weights, values), bar)
    return rates


def _with_ends(name: str, value: float, bar: float | None) -> dict[str, float | None]:
    ends = (None, None) if bar is None else (max(value - bar, 0.0), min(value + bar, 1.0))
    return {name: value, f"{name}_lo": ends[0], f"{name}_hi": ends[1]}


def _bar(bench: manifests.Estimates, rate: str, estimator: str, share: float | None) -> float | None:
    """Return what 95 % of the errors of the bench at such a share stayed within; None where it had no such sets."""
    by = NEEDED[estimator]
    errors = [each for each in bench.errors if (each.rate, each.estimator, each.by) == (rate, estimator, by)]
    if not errors:
        return None
    if share is None or by == "share":
        return min(errors, key=lambda each: abs(each.low - (share or 0))).within95
    return next((each.within95 for each in errors if each.low <= share < each.high or share == each.high == 1), None)


def estimate_files(
    pool_path: str | Path,
    validation_path: str | Path | None,
    columns: Sequence[str] = (),
    negate: bool = False,
    dialect: Dialect | None = None,
    share: float | None = None,
    bench: manifests.Estimates | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> list[dict[str, Any]]:
    """Return what `estimate` does of score files, as `oodgrid metrics` reads them.

    Args:
        pool_path: Scores of the unlabelled samples.
        validation_path: Scores of ID samples; without, only clusters are told.
        columns: The columns to take from both files, where they have several; one share is estimated for all.
        negate: Whether the files hold scores that are higher for more out-of-distribution samples.
        dialect: How .csv files are written, where that is in doubt.
        share: Of OOD samples in the pool, where it is known.
        bench: Where the error bars are from; default: that of this package.
        say: Is given one line on what was read, and on what is hardly meant.

    Raises:
        OodgridError: If `read_column` refuses a file, or a column is named twice, or the share is none.
    """
    share = None if share is None else check_share(share)
    if twice := [name for name in columns if list(columns).count(name) > 1]:
        raise OodgridError(f"--score {twice[0]} is named twice: take one out")
    if share is not None and validation_path is None:
        raise OodgridError("--share is for unmixing a pool from ID validation scores: give these by --validation FILE")
    check_dialect([pool_path, *([] if validation_path is None else [validation_path])], dialect)
    bench = bench or read_bench()

    def read(path: str | Path) -> dict[str, NDArray[np.float64]]:
        scores = {}
        for name in columns or (None,):
            column = read_column(path, name, dialect)
            say(column.said(path))
            if len(columns) > 1 and column.name != name:
                raise OodgridError(f"{path} has one column without a name, and --score names several: leave it out")
            scores[name or column.name or "scores"] = -column.scores if negate else column.scores
        return scores

    pool = read(pool_path)
    if validation_path is None:
        return without_validation(pool, bench)
    validation = read(validation_path)
    if len(columns) < 2:  # whatever the two files call their only one
        validation = dict(zip(pool, validation.values(), strict=True))
    for name, scores in pool.items():
        if np.array_equal(np.sort(scores), np.sort(validation[name])):
            say(f"{validation_path} holds the same scores as {pool_path}: are these the validation samples?")
    return estimate(validation, pool, bench, share)
