"""Estimates without OOD labels: from unlabelled scores (the pool) and those of ID validation samples; higher = more ID.

>>> import numpy as np
>>> from oodgrid import estimates
>>> rng = np.random.default_rng(0)
>>> validation = rng.normal(size=1000)
>>> pool = np.concatenate([rng.normal(size=1000), rng.normal(-2.5, 1, size=1000)])  # half of it OOD, which nobody says
>>> estimate = estimates.estimate(validation, pool)
>>> estimate["status"], round(estimate["ood_share"], 1)
('ok', 0.5)
>>> abs(estimate["auroc"] - 0.96) < 0.03  # that of these two distributions is .961
True
>>> estimates.estimate(validation, pool[:1000])["reason"][:42]
'the pool does not score lower than validat'

A reconstruction of Gscore (Zhang, Deng & Zheng, 2302.08287): docs/estimate.md says what it rests on, and how far it is
off on real features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from oodgrid.edge import mapping
from oodgrid.errors import OodgridError
from oodgrid.evaluate.estimate import indicators as of_pool
from oodgrid.evaluate.estimate import own
from oodgrid.evaluate.estimate.predictions import unmixed as unmixed_rates
from oodgrid.evaluate.metrics import count_scores

__all__ = ["estimate", "estimate_all", "indicators", "unmixed"]


def indicators(validation: ArrayLike, pool: ArrayLike) -> dict[str, float]:
    """Return all indicators of a pool.

    Args:
        validation: Scores of ID samples that are not in the pool, shape (N,).
        pool: Unlabelled scores, shape (M,).

    Returns:
        `auroc_pool` (of validation against the pool), `flagged` (share of the pool below the score that 95 % of
        validation reach), `separation` (of two clusters), `wasserstein` (distance to validation) and `own_share` (of
        OOD samples, by this score alone).

    Raises:
        OodgridError: A side is not one-dimensional, numeric, non-empty and finite; the message names the side.
    """
    return of_pool.indicators(of_pool.pool_of(validation, pool))


def unmixed(validation: ArrayLike, pool: ArrayLike, ood_share: float) -> dict[str, float]:
    """Return AUROC and both false-positive rates of a pool with a known share of OOD samples.

    >>> unmixed([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6, 0.1, 0.2, 0.3, 0.85], ood_share=0.5)["auroc"]
    0.8125

    Args:
        validation: As of `indicators`.
        pool: Likewise.
        ood_share: Between 0 and 1.

    Raises:
        OodgridError: As of `indicators`, or for the share.
    """
    share = own.check_share(ood_share)
    return unmixed_rates(count_scores(validation, pool, of_pool.SIDES), share)


def estimate(validation: ArrayLike, pool: ArrayLike, ood_share: float | None = None) -> dict[str, Any]:
    """Return what `oodgrid estimate` says of one score, as its `--json` has it.

    Args:
        validation: As of `indicators`.
        pool: Likewise.
        ood_share: Of OOD samples in the pool, where it is known; the `regression_…` are None then.

    Raises:
        OodgridError: As of `indicators`, or for the share.
    """
    return own.estimate({"score": validation}, {"score": pool}, own.read_bench(), ood_share)[0]


def estimate_all(
    validation: Mapping[str, ArrayLike], pool: Mapping[str, ArrayLike], ood_share: float | None = None
) -> list[dict[str, Any]]:
    """Return what `estimate` does of several scores of one pool, whose OOD share is estimated from all of them.

    Args:
        validation: Scores by name, each of shape (N,).
        pool: By the same names, each of shape (M,).
        ood_share: Of OOD samples in the pool, where it is known.

    Raises:
        OodgridError: As of `estimate`, or a score is there on one side only, or holds other samples than another.
    """
    sides = mapping(validation, "validation"), mapping(pool, "pool")
    if lacking := sorted(set(sides[0]) ^ set(sides[1])):
        raise OodgridError(f"score {lacking[0]} is there on one side only: give it for validation and for the pool")
    if not sides[0]:
        raise OodgridError("validation and pool hold no score: {'mcm': …} is needed")
    return own.estimate(*sides, own.read_bench(), ood_share)
