"""The table estimates.parquet: every score of every method on every set of the bench, estimated and true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oodgrid import manifests
from oodgrid.errors import OodgridError
from oodgrid.evaluate.estimate.bench import SHARES, BenchSet, Labelled, plan, sets_of_each
from oodgrid.evaluate.estimate.errors import errors, predicted
from oodgrid.evaluate.estimate.indicators import INDICATORS, common_share, indicators, pool_of
from oodgrid.evaluate.estimate.predictions import RATES, SMALLEST_SHARE, pseudo_labelled, unmixed
from oodgrid.evaluate.estimate.regression import JOIN, LINES, fitted
from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.evaluate.score_table import ScoreTable
from oodgrid.kept import Kept
from oodgrid.progress import progress
from oodgrid.threads import side_by_side

SEED = 0  # of the draws of sets
KEYS = ("backbone", "id_dataset", "method", "base_method", "shots", "seed", "score", "base_score")
TRIED = {"unmixed": "common_share", "alone": "own_share", "known": "share"}
COMPUTED: dict[str, Any] = {
    **dict.fromkeys(KEYS, pl.String),
    **{"shots": pl.Int32, "seed": pl.Int32, "number": pl.Int32, "made": pl.String, "ood_datasets": pl.String},
    **dict.fromkeys(("n_validation", "n_id", "n_ood"), pl.Int32),
    **dict.fromkeys(("planned_share", "share", "common_share", *INDICATORS, "clusters"), pl.Float64),
    **dict.fromkeys((f"true_{rate}" for rate in RATES), pl.Float64),
    **dict.fromkeys((f"{name}_{rate}" for name in (*TRIED, "clusters") for rate in RATES), pl.Float64),
    "pseudo_labels_auroc": pl.Float64,
}
STORED = (
    *(name for name in COMPUTED if not name.startswith(("known_", "clusters", "pseudo_labels", "planned"))),
    *(f"{name}_{rate}" for name in ("regression", "regression_alone") for rate in RATES),
)
ESTIMATES: dict[str, Any] = {"experiment": pl.String} | {
    name: pl.Float32 if COMPUTED.get(name, pl.Float64) == pl.Float64 else COMPUTED[name] for name in STORED
}


def estimates(tables: Sequence[ScoreTable], experiment: str, kept: Kept) -> tuple[pl.DataFrame, manifests.Estimates]:
    """Return the rows of estimates.parquet and how far estimates are off.

    Of every method its largest shots, first seed; scores of single samples.

    Args:
        tables: The tables of scores, of all (backbone, ID set).
        experiment: Name.
        kept: Where finished rows are kept.

    Raises:
        OodgridError: A table is damaged, or tables of one ID set hold other samples than one another.
    """
    pairs: dict[tuple[str, str], list[ScoreTable]] = {}
    for table in tables:
        pairs.setdefault((table.names["backbone"], table.names["id_dataset"]), []).append(table)
    count = sets_of_each(len(pairs))
    frames = [pl.DataFrame(schema=COMPUTED)]
    for those in progress(list(pairs.values()), desc="estimate", unit="ID set"):
        frames.append(_of_pair(those, count, kept))
    whole = pl.concat(frames)
    if whole.is_empty():
        return pl.DataFrame(schema=ESTIMATES), manifests.Estimates(sets=0, left_out=count * len(pairs))
    whole = predicted(whole)
    made = whole.select("backbone", "id_dataset", "number").unique().height
    sizes = {
        name: np.quantile(of.to_numpy(), (0, 0.5, 1)).astype(int).tolist()
        for name, of in (("validation", whole["n_validation"]), ("pool", whole["n_id"] + whole["n_ood"]))
    }
    about = manifests.Estimates(
        sets=made,
        left_out=count * len(pairs) - made,
        detectors=whole.select("backbone", "id_dataset", "method", "score").unique().height,
        sizes=sizes,
        errors=list(errors(whole)),
        lines=[
            manifests.EstimateLine(estimator=name, rate=rate, weights=fitted(whole, of, f"true_{rate}"))
            for name, of in LINES.items()
            for rate in RATES
        ],
    )
    shown = whole.with_columns(experiment=pl.lit(experiment))
    return shown.select(pl.col(name).cast(kind) for name, kind in ESTIMATES.items()), about


def _of_pair(tables: Sequence[ScoreTable], count: int, kept: Kept) -> pl.DataFrame:
    """Return the rows of one (backbone, ID set), which are kept."""
    shown = [(table, fit) for table in tables if (fit := _shown(table)) is not None]
    parts = [fit.parts[name] for table, fit in shown for name in (table.id_dataset.name, *_oods(table))]
    code = tables[0].code
    identity = {"estimates": parts, "code": code, "count": count, "seed": SEED}
    identity |= {"scores": [[sorted(table.scores.items()), table.names, _oods(table)] for table, _ in shown]}

    def compute(path: Path) -> None:
        manifests.write_table(path, _computed(shown, count), manifests.EstimateRows(parts=parts, code=code))

    if not shown:
        return pl.DataFrame(schema=COMPUTED)
    return manifests.read_table(kept.get(identity, ".parquet", compute), manifests.EstimateRows)[0]


def _shown(table: ScoreTable) -> manifests.ScoredFit | None:
    """Return the fit that is tried: the one that figures show; None where none worked or nothing was listed."""
    about = manifests.read(table.path, manifests.ScoreTable)
    return table.shown(about.fits) if table.scores else None


def _oods(table: ScoreTable) -> list[str]:
    return [name for _, name in table.oods()]


def _computed(shown: Sequence[tuple[ScoreTable, manifests.ScoredFit]], count: int) -> pl.DataFrame:
    planned: list[BenchSet] | None = None
    sizes: dict[str, int] = {}
    scored: list[tuple[dict[str, Any], dict[str, NDArray[np.float64]]]] = []
    name = shown[0][0].id_dataset.name
    for table, fit in shown:
        samples = _scores(table, fit)
        if planned is None:
            oods = [Labelled(ood, samples[ood]["label"].to_numpy().astype(np.int64)) for ood in _oods(table)]
            sizes = {each: len(of) for each, of in samples.items()}
            planned = plan(sizes[name], oods, count, SEED)
        if sizes != {each: len(of) for each, of in samples.items()}:
            raise OodgridError(
                f"{table.path} holds other numbers of samples than {shown[0][0].path}: snakemake --forcerun score "
                "makes both again"
            )
        for score, base in table.scores.items():
            if score not in fit.skipped:
                keys = table.names | {"shots": fit.shots, "seed": fit.seed, "score": score, "base_score": base}
                scored.append((keys, {each: of[score].to_numpy() for each, of in samples.items()}))
    if not scored:
        planned = None
    rows = (row for of_set in side_by_side(lambda each: _of_set(each, name, scored), planned or ()) for row in of_set)
    return pl.DataFrame(list(rows), schema=COMPUTED)


def _scores(table: ScoreTable, fit: manifests.ScoredFit) -> dict[str, pl.DataFrame]:
    """Return labels and scores of the samples of every set."""
    wanted = [table.id_dataset.name, *_oods(table)]
    with manifests.open_table(table.path, manifests.ScoreTable) as (opened, _):
        columns = ["dataset", "label", *(score for score in table.scores if score not in fit.skipped)]
        rows = opened.read(columns, shots=fit.shots, seed=fit.seed)
    parts = {key[0]: part for key, part in rows.partition_by("dataset", as_dict=True, include_key=False).items()}
    if lacking := [name for name in wanted if name not in parts]:
        raise OodgridError(
            f"{table.path} holds no scores of {', '.join(lacking)}: snakemake --forcerun score makes it again"
        )
    return {name: parts[name] for name in wanted}


def _of_set(
    planned: BenchSet, id_dataset: str, scored: Iterable[tuple[Mapping[str, Any], dict[str, NDArray[np.float64]]]]
) -> list[dict[str, Any]]:
    """Return the rows of one set: of every score, with the share by all of them."""
    share = SHARES[planned.number % len(SHARES)]
    rows, pools = [], []
    for keys, scores in scored:
        validation, of_id, ood = planned.scores_of(scores, id_dataset)
        pool = pool_of(validation, np.concatenate([of_id, ood]))
        truth = metrics_from_counts(count_scores(of_id, ood))
        pools.append(pool)
        rows.append(
            {
                **{name: keys[name] for name in KEYS},
                **{"number": planned.number, "made": planned.made, "ood_datasets": JOIN.join(planned.ood_datasets)},
                **{"n_validation": len(validation), "n_id": len(of_id), "n_ood": len(ood), "planned_share": share},
                **{"share": len(ood) / (len(of_id) + len(ood)), **indicators(pool)},
                **{f"true_{rate}": truth[rate] for rate in RATES},
                **{f"clusters_{rate}": value for rate, value in pool.clusters.rates().items()},
                "pseudo_labels_auroc": pseudo_labelled(pool.counts)["auroc"],
            }
        )
    common = common_share([row["own_share"] for row in rows], [pool.counts for pool in pools])
    for row, pool in zip(rows, pools, strict=True):
        row |= {"common_share": common, "clusters": row["clusters_auroc"]}
        for name, by in TRIED.items():
            by_share = unmixed(pool.counts, max(row[by], SMALLEST_SHARE))
            row |= {f"{name}_{rate}": value for rate, value in by_share.items()}
    return rows
