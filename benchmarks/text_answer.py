"""Which score tells texts apart best, ID set by ID set: the lines of docs/text-ood.md, from results/text-ood.

python benchmarks/text_answer.py
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

RESULTS = Path(__file__).parents[1] / "results" / "text-ood"
METHODS = {"zero_shot": "zero-shot", "prototype": "class means", "linear_probe": "probe", "any": ""}
SCORES = {
    "mcm": "MCM", "msp": "MSP", "max_logit": "maximum cosine", "energy": "energy", "knn": "kNN",
    "mahalanobis": "Mahalanobis", "single_gaussian": "single Gaussian",
}  # fmt: skip
HEAD = "| ID set | accuracy | OOD | best | AUROC | not told apart from it | zero-shot, maximum cosine |"


def lines() -> list[str]:
    """Return the lines of a table in Markdown: the best of each ID set at the largest shots, near and far."""
    summary = pl.read_parquet(RESULTS / "summary.parquet")
    # parameters are in the name of a score: knn@k=1,bank=train
    best = pl.read_parquet(RESULTS / "comparisons.parquet").filter(
        pl.col("in_best_set"), against="best", metric="auroc"
    )
    rows = [HEAD, "|---" * 7 + "|"]
    sets = summary.drop_nulls("id_dataset")["id_dataset"].unique(maintain_order=True)
    for name in sets:
        own = summary.filter(pl.col("largest"), id_dataset=name)
        accuracy = own.filter(metric="id_accuracy").unique("method").sort("mean", descending=True)
        for scope in ("near", "far"):
            equal = best.filter(id_dataset=name, scope=scope).sort("diff", descending=True)
            if equal.is_empty():
                continue
            first, *others = [_name(row) for row in equal.iter_rows(named=True)]
            what = equal.row(0, named=True)
            number = _of(own, scope, what["method"], what["score"])
            floor = _of(own, scope, "zero_shot", "max_logit")
            of_classes = ", ".join(f"{METHODS[m]} {100 * a:.1f}" for m, a in accuracy.select("method", "mean").rows())
            cells = (name, of_classes, scope, first, number, "; ".join(others) or "none", floor)
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def _of(own: pl.DataFrame, scope: str, method: str, score: str) -> str:
    row = own.filter(scope=scope, metric="auroc", method=method, score=score).row(0, named=True)
    return f"{100 * row['mean']:.2f} [{100 * row['lo']:.2f}, {100 * row['hi']:.2f}]"


def _name(row: dict[str, str]) -> str:
    """Return method and score in the words of the docs."""
    score, _, params = row["score"].partition("@")
    of = "maximum logit" if (row["method"], score) == ("linear_probe", "max_logit") else SCORES[score]
    words = [METHODS[row["method"]], of + ", k = 1" * ("k=1" in params)]
    return ", ".join(filter(None, words)) + " of the whole split" * ("bank=train" in params)


if __name__ == "__main__":
    print(*lines(), sep="\n")
