"""Typical predictions of classes, and how much the distance to them counts beside a confidence: for DPM.

A divergence is on another scale than a confidence, so it needs a scale and a weight. DPM's released code takes the
scale from the smallest and largest scores of ID and OOD test samples, and the weight that gives the best AUROC - FPR of
these. Here both come from labelled ID samples: the scale from their own smallest and largest values; the weight from
scoring each of them twice, as it is, and with its own class taken out of the texts and of the patterns, which is how an
image looks whose class is none of the others. The best weight tells the first from the second (AUROC).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from oodgrid.counts import plural
from oodgrid.score.contract import Bank, Skip, by_rows, largest_probability, log_probabilities, probabilities, product
from oodgrid.score.sharing import shared

Confidence = Literal["mcm", "max_logit"]
BETAS = np.arange(101) / 10  # 0 to 10, as the released code tries them
NOTHING = 1e-12  # what rounding leaves of a range of zero
TINY = np.finfo(np.float64).tiny


@shared
def log_patterns(bank: Bank, *, T: float) -> np.ndarray:
    """Return log of the mean softmax(s / T) of the samples of every class that occurs, shape (C, K).

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    return log_means(bank.own_logits(), bank.classes[1], T=T)


def log_means(logits: np.ndarray, groups: np.ndarray, *, T: float) -> np.ndarray:
    """Return log of the mean softmax(s / T) of the rows of every group that occurs, shape (C, K), of logits (M, K).

    Logarithms are taken before chances can underflow.
    """
    order = np.argsort(groups, kind="stable")
    _, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    values = log_probabilities(logits, T=T)[order]
    highest = np.maximum.reduceat(values, starts, axis=0)
    values -= np.repeat(highest, counts, axis=0)  # so that of every group one power is 1
    return highest + np.log(np.add.reduceat(np.exp(values, out=values), starts, axis=0) / counts[:, None])


def log_means_of_others(logits: np.ndarray, groups: np.ndarray, *, T: float) -> np.ndarray:
    """Return log of the mean softmax(s / T) of the other rows of each row's group, shape (M, K); no row is alone in it.

    They are added up from both ends: what is left when a large chance is subtracted from a sum would be its rounding.
    """
    values = log_probabilities(logits, T=T)
    others = np.full_like(values, -np.inf)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        others[rows[1:]] = np.logaddexp.accumulate(values[rows[:-1]])
        others[rows[:-1]] = np.logaddexp(others[rows[:-1]], np.logaddexp.accumulate(values[rows[:0:-1]])[::-1])
        others[rows] -= np.log(len(rows) - 1)
    return others


def divergences(logits: np.ndarray, patterns: np.ndarray, *, T: float) -> np.ndarray:
    """Return KL(softmax(s / T) || d), shape (N, C), of logits (N, K), which may be -inf, and log d, (C, K)."""
    p = probabilities(logits, T=T)
    p_log_p = np.multiply(p, log_probabilities(logits, T=T), where=p > 0, out=np.zeros_like(p))
    return p_log_p.sum(axis=1, keepdims=True) - product(p, patterns)


def confidences(logits: np.ndarray, *, by: Confidence, T: float) -> np.ndarray:
    """Return max_k softmax(s / T)_k, or max_k s_k, of logits (N, K), which may be -inf, shape (N,)."""
    return logits.max(axis=1) if by == "max_logit" else largest_probability(logits, T=T)


@shared
def fusion(
    bank: Bank, reference: Bank, *, by: Confidence, T: float, T_visual: float, beta: float | None
) -> tuple[float, float]:
    """Return the scale and the weight of divergences: see the head of this module.

    Args:
        bank: Of whose samples the patterns are.
        reference: Labelled ID samples; where they are the bank itself, each is compared with the pattern of the others.
        by: The confidence.
        T: Its temperature on cosines.
        T_visual: That of the patterns.
        beta: The weight; None where it is to be found.

    Raises:
        Skip: The method leaves no logits, there is one class, or two and no `beta`, a shot is alone in its class and
            there is no other reference, or all divergences are equal.
    """
    patterns = log_patterns(bank, T=T_visual)
    alone = np.bincount(bank.classes[1]) < 2
    if len(patterns) < 2:
        raise Skip("it compares with the typical predictions of classes, and there is one class")
    if reference is bank and alone.any():
        count = int(alone.sum())
        have = f"{plural(count, 'class', 'classes')} {plural(count, 'has', 'have')}"
        raise Skip(f"its scale needs validation samples, or 2 shots a class, and {count:,} {have} one")

    if beta is None and patterns.shape[1] == 2:
        raise Skip("of two classes one is left when the other is taken out, which says nothing of beta: set it")

    arrays = [reference.own_logits(), reference.labels]
    if reference is bank:
        arrays.append(log_means_of_others(*arrays, T=T_visual))

    def twice(logits: np.ndarray, labels: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        return _scored_twice(logits, labels, bank, patterns, others, by=by, T=T, T_visual=T_visual)

    whole, distance, without, distance_without = by_rows(twice, *arrays, rows=1024).T
    if np.ptp(distance) < NOTHING:
        raise Skip("all labelled samples predict alike, so that nothing says how far an unlike prediction is")
    scale = np.ptp(whole) / np.ptp(distance)
    if beta is None:
        told_apart = [_auroc(whole - b * scale * distance, without - b * scale * distance_without) for b in BETAS]
        beta = BETAS[int(np.argmax(told_apart))]
    return float(scale), float(beta)


def _scored_twice(
    logits: np.ndarray, labels: np.ndarray, bank: Bank, patterns: np.ndarray, others: np.ndarray | None,
    *, by: Confidence, T: float, T_visual: float,
) -> np.ndarray:  # fmt: skip
    """Return confidence and smallest divergence, then both without the sample's own class, shape (N, 4).

    Args:
        logits: Shape (N, K).
        labels: Shape (N,).
        bank: Of the patterns.
        patterns: Shape (C, K), their logarithms.
        others: Where the samples are among those of the patterns: of each that of its own class without it, (N, K).
        by: The confidence.
        T: Its temperature.
        T_visual: That of the patterns.
    """
    rows, own = np.arange(len(labels)), labels[:, None] == bank.classes[0]
    distances = divergences(logits, patterns, T=T_visual)
    if others is not None:
        p = probabilities(logits, T=T_visual)
        distances[own] = (p * (log_probabilities(logits, T=T_visual) - others)).sum(axis=1)
    masked = logits.copy()
    masked[rows, labels] = -np.inf
    rest = np.log(np.maximum(-np.expm1(patterns[:, labels].T), TINY))  # patterns without that class sum to less than 1
    distances_without = np.where(own, np.inf, divergences(masked, patterns, T=T_visual) + rest)
    parts = (
        confidences(logits, by=by, T=T),
        distances.min(axis=1),
        confidences(masked, by=by, T=T),
        distances_without.min(axis=1),
    )
    return np.stack(parts, axis=1)


def _auroc(higher: np.ndarray, lower: np.ndarray) -> float:
    """Return the share of pairs in which the first is higher, ties counting half."""
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, side="left") + np.searchsorted(ordered, higher, side="right")
    return below.sum() / (2 * len(higher) * len(lower))
