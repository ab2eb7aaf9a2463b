"""OOD sets on which estimates are tried: pools of samples that are cached, whose labels are known but not used.

A set is a part of the ID test samples as validation, another part of them as the ID samples of the pool, and OOD
samples: of one OOD set, of some classes of it, or of several sets. All draws come from one seed and from nothing but
the numbers of samples and their classes, so that every score of every method is tried on the same sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
SETS = 224  # of an experiment, at the least
SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8)  # of OOD samples in a pool
WAYS = ("whole", "classes", "mixture")
VALIDATION = (0.2, 0.35, 0.5)  # of the ID test samples
SIZES = (1.0, 0.5, 0.25)  # of the largest pool that can be had
MOST = 4000  # samples of a pool
FEWEST_ID, FEWEST_OOD = 20, 5  # of a pool, and of validation
TRIES = 4  # for a set that is large enough
FEWEST_CLASSES = 4  # of an OOD set of which some classes are taken


class BenchSet(NamedTuple):
    """One set of the bench, as rows of the tables of scores.

    Attributes:
        number: Its place in the plan.
        made: How its OOD samples were chosen, one of `WAYS`.
        ood_datasets: Where they are from.
        validation: Rows of the ID set.
        id_rows: Other rows of the ID set: the ID samples of the pool.
        ood_rows: Rows of each OOD set.
    """

    number: int
    made: str
    ood_datasets: tuple[str, ...]
    validation: Rows
    id_rows: Rows
    ood_rows: dict[str, Rows]

    def scores_of(
        self, scores: Mapping[str, NDArray[np.float64]], id_dataset: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the scores of validation, of the ID samples of the pool and of its OOD samples."""
        of_id = scores[id_dataset]
        ood = np.concatenate([scores[name][rows] for name, rows in self.ood_rows.items()])
        return of_id[self.validation], of_id[self.id_rows], ood


@dataclass(frozen=True)
class Labelled:
    """How many samples an OOD set has, and their classes.

    Attributes:
        name: Of the set.
        labels: Classes of its samples, -1 for none, shape (N,).
    """

    name: str
    labels: NDArray[np.int64]

    def rows(self, made: str, rng: np.random.Generator) -> Rows:
        """Return all rows, or those of some of the classes, from one of them to half."""
        classes = np.unique(self.labels[self.labels >= 0])
        if made != "classes" or len(classes) < FEWEST_CLASSES:
            return np.arange(len(self.labels))
        some = rng.choice(classes, size=int(rng.integers(1, len(classes) // 2 + 1)), replace=False)
        return np.flatnonzero(np.isin(self.labels, some))


def sets_of_each(pairs: int) -> int:
    """Return how many sets to make of each (backbone, ID set), so that there are at least `SETS` together."""
    rounds = len(SHARES) * -(-SETS // (max(pairs, 1) * len(SHARES)))
    return max(rounds, len(SHARES) * len(WAYS) * 2)


def plan(n_id: int, oods: Sequence[Labelled], count: int, seed: int = 0) -> list[BenchSet]:
    """Return the sets of one (backbone, ID set); fewer than asked for where most would be too small, none without OOD.

    Args:
        n_id: ID test samples.
        oods: The OOD sets.
        count: How many to make.
        seed: Of all draws.
    """
    tried = range(TRIES * count if oods else 0)
    planned = (_planned(number, n_id, oods, np.random.default_rng([seed, number])) for number in tried)
    return list(islice((each for each in planned if each is not None), count))


def _planned(number: int, n_id: int, oods: Sequence[Labelled], rng: np.random.Generator) -> BenchSet | None:
    share, made = SHARES[number % len(SHARES)], WAYS[number // len(SHARES) % len(WAYS)]
    made = "whole" if made == "mixture" and len(oods) < 2 else made
    several = int(rng.integers(2, min(3, len(oods)) + 1)) if made == "mixture" else 1
    # set by set in turn, so that none is left out by chance; mixtures as they are drawn
    first = number // len(SHARES) % len(oods)
    chosen = rng.choice(len(oods), size=several, replace=False) if several > 1 else [first]
    parts = {oods[i].name: oods[i].rows(made, rng) for i in sorted(chosen)}
    order = rng.permutation(n_id)
    n_validation = int(rng.choice(VALIDATION) * n_id)
    left, size = n_id - n_validation, float(rng.choice(SIZES))
    at_hand = sum(map(len, parts.values()))
    total = size * min(left / (1 - share), at_hand / share, MOST)
    n_ood = round(total * share)
    n_in = min(round(total * (1 - share)), left)
    if min(n_in, n_validation) < FEWEST_ID or not FEWEST_OOD <= n_ood <= at_hand:
        return None
    every = [(name, row) for name, rows in parts.items() for row in rows.tolist()]
    drawn = [every[i] for i in sorted(rng.choice(len(every), size=n_ood, replace=False))]
    ood_rows = {name: np.array([row for other, row in drawn if other == name], np.int64) for name in parts}
    ood_rows = {name: rows for name, rows in ood_rows.items() if len(rows)}
    validation, id_rows = np.sort(order[:n_validation]), np.sort(order[n_validation : n_validation + n_in])
    return BenchSet(number, made, tuple(ood_rows), validation, id_rows, ood_rows)
