"""Do the intervals of `oodgrid estimate` hold on score files that no bench has seen? Made ones, of known truth.

    python benchmarks/unseen_scores.py

Pools of 300, 1,000 or 3,000 scores, a twentieth to a half of them OOD, with validation of as many; by one score, and
by seven scores of one pool that see the OOD samples from badly to well. Prints a table, a row a kind of scores: of how
many estimates something was said, and the share of these whose interval holds the true rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np

from oodgrid import estimates
from oodgrid.evaluate.metrics import detection_metrics

Draw = Callable[[np.random.Generator, int], np.ndarray]
SHARES = (0.05, 0.1, 0.2, 0.35, 0.5)
SHIFTS = (0.5, 1.0, 2.0, 3.0)
SIZES = (300, 1000, 3000)
ROUNDS = {1: 10, 7: 3}  # by how many scores a pool has
CELLS = {name: name for name in ("auroc", "fpr95_id_pos", "fpr95_ood_pos")}
CELLS |= {"regression_auroc": "auroc", "auroc_sure": "auroc"}  # intervals, and the rates that they are of


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return n draws of the standard normal distribution."""
    return rng.normal(size=n)


KINDS: dict[str, tuple[Draw, Callable[[float], Draw]]] = {  # ID scores, and OOD scores by their shift
    "two Gaussians": (normal, lambda s: lambda rng, n: rng.normal(-s, 1, n)),
    "narrow OOD": (normal, lambda s: lambda rng, n: rng.normal(-s, 0.5, n)),
    "shares of a softmax (beta)": (
        lambda rng, n: rng.beta(5, 1, n),
        lambda s: lambda rng, n: rng.beta(5 / (1 + s), 1 + s, n),
    ),
    "skewed ID": (
        lambda rng, n: -rng.exponential(size=n),
        lambda s: lambda rng, n: -rng.exponential(1 + s, n) - s / 4,
    ),
    "two kinds of ID": (
        lambda rng, n: np.where(rng.random(n) < 0.7, rng.normal(3, 1, n), rng.normal(size=n)),
        lambda s: lambda rng, n: rng.normal(1 - s, 1, n),
    ),
    "two kinds of OOD": (
        normal,
        lambda s: lambda rng, n: np.where(rng.random(n) < 0.5, rng.normal(-s, 1, n), rng.normal(-2 * s - 1, 1, n)),
    ),
    "heavy tails (t, 2)": (lambda rng, n: rng.standard_t(2, n), lambda s: lambda rng, n: rng.standard_t(2, n) - s),
    "wide OOD": (normal, lambda s: lambda rng, n: rng.normal(-s, 2, n)),
    "half of OOD like ID": (
        normal,
        lambda s: lambda rng, n: np.where(rng.random(n) < 0.5, rng.normal(size=n), rng.normal(-2 * s - 1, 1, n)),
    ),
}


def tried(kind: str, scores: int, rng: np.random.Generator) -> Iterator[dict[str, bool | float] | None]:
    """Yield for every estimate whether each interval holds, and the width of the sure one; None of silence."""
    of_id, of_ood = KINDS[kind]
    for share in SHARES:
        for shift in SHIFTS * ROUNDS[scores]:
            size, n_validation = rng.choice(SIZES, 2).tolist()
            n_ood = round(size * share)
            shifts = [shift] if scores == 1 else (1.3 * shift * np.linspace(0.2, 1, scores)).tolist()
            validation = {str(s): of_id(rng, n_validation) for s in shifts}
            sides = {str(s): (of_id(rng, size - n_ood), of_ood(s)(rng, n_ood)) for s in shifts}
            rows = estimates.estimate_all(validation, {name: np.concatenate(both) for name, both in sides.items()})
            for row in rows:
                if row["status"] != "ok":
                    yield None
                    continue
                truth = detection_metrics(*sides[row["score"]])
                holds: dict[str, bool | float] = {
                    name: row[f"{name}_lo"] <= truth[rate] <= row[f"{name}_hi"]
                    for name, rate in CELLS.items()
                    if row[f"{name}_lo"] is not None
                }
                yield holds | {"width": row["auroc_sure_hi"] - row["auroc_sure_lo"]}


def main() -> None:
    """Print the tables."""
    rng = np.random.default_rng(0)
    for scores in ROUNDS:
        print(f"\n{scores} score(s) a pool\n| scores | said | {' | '.join(CELLS)} | width of auroc_sure |")
        whole: dict[str, list[dict[str, bool | float] | None]] = defaultdict(list)
        for kind in KINDS:
            whole[kind] = list(tried(kind, scores, rng))
        whole["all"] = [each for rows in list(whole.values()) for each in rows]
        for kind, rows in whole.items():
            said = [each for each in rows if each is not None]
            means = [100 * np.mean([each[name] for each in said if name in each]) for name in (*CELLS, "width")]
            print(f"| {kind} | {len(said):,} of {len(rows):,} | {' | '.join(f'{mean:.0f}' for mean in means)} |")


if __name__ == "__main__":
    main()
