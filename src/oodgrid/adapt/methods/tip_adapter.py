"""Tip-Adapter: a key-value cache of the shots beside the text classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat
from scipy import sparse

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, accuracy, normalise
from oodgrid.adapt.search import around, end_remarks, scale
from oodgrid.adapt.training import Family, mean_view
from oodgrid.registry import method

BETA_START, ALPHA_START = 1.0, 1.17  # official, for ImageNet, pets, food and SUN397
LOWEST = 0.1  # of the search over beta and alpha, as in the official code
STEPS = 24  # of each, at equal ratios, before it is refined


@method(
    title="Tip-Adapter",
    look="purple X",
    leaves="logits",
    needs=("prototypes", "shots"),
    paper="Zhang et al. 2022 (ECCV), Tip-Adapter, equations 3-6; github.com/gaopengcuhk/Tip-Adapter",
)
@dataclass(frozen=True)
class TipAdapter:
    """Tip-Adapter: 100 x · t_k + alpha A_k(x), with A(x) = exp(-beta (1 - x Kᵀ)) L; nothing is trained.

    K are the normalised shots, L their one-hot labels, x the normalised feature. alpha and beta, where not given, are
    chosen by accuracy on the few-shot validation set: first of 24 values each at equal ratios, from 0.1 to `beta_to`
    and `alpha_to`, then of finer ones around the best (ties: the smallest beta, then alpha). A value at an end of its
    range is said in the tables. Where there is no validation set, they are `beta_start` and `alpha_start`.

    Scale: logits = cos + (alpha / 100) A, so that T = .01 gives the method's own softmax.
    Keys are the mean of the cached `views`, normalised after (the official code: ten of rrc50), or the centre view
    where none are named.
    Deviations: the official code searches a range of its own for every dataset (docs/methods.md lists them with the
    starting values), in 200 x 20 equal steps up to (beta, alpha) = (7, 3) for ImageNet and (50, 50) for flowers, and
    for ImageNet on the test set. The default range holds all of them.
    """

    alpha: NonNegativeFloat | None = None
    beta: NonNegativeFloat | None = None
    beta_to: PositiveFloat = 50.0
    alpha_to: PositiveFloat = 200.0
    beta_start: NonNegativeFloat = BETA_START
    alpha_start: NonNegativeFloat = ALPHA_START
    views: Family = None

    def fit(self, data: FitData) -> Learned:
        """Store the shots and choose alpha and beta."""
        keys = normalise(mean_view(data))
        arrays = {
            "keys": keys,
            "labels": data.train_labels.astype(np.int64),
            "prototypes": data.text.prototypes,
        }
        return finish(self, arrays, data)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return the two-part logits."""
        beta, alpha = (float(value) for value in learned["beta_alpha"])

        def logits(features: np.ndarray) -> np.ndarray:
            return tip_logits(normalise(features), learned, beta, alpha)

        return Classifier(learned["prototypes"], logits=logits)


def finish(method: TipAdapter, arrays: Arrays, data: FitData) -> Learned:
    """Choose alpha and beta for the given cache and return what the fit leaves."""
    if len(data.val):
        betas = scale(LOWEST, method.beta_to, STEPS) if method.beta is None else np.array([method.beta])
        alphas = scale(LOWEST, method.alpha_to, STEPS) if method.alpha is None else np.array([method.alpha])
    else:
        betas = np.array([method.beta_start if method.beta is None else method.beta])
        alphas = np.array([method.alpha_start if method.alpha is None else method.alpha])
    beta, alpha, reached = select(arrays, normalise(data.val), data.val_labels, betas, alphas)
    remarks = [
        *(end_remarks("beta", beta, betas[0], betas[-1]) if len(betas) > 1 else ()),
        *(end_remarks("alpha", alpha, alphas[0], alphas[-1]) if len(alphas) > 1 else ()),
    ]
    info = {"beta": beta, "alpha": alpha, "val_accuracy": reached, "val_labels_used": len(data.val)}
    return Learned({**arrays, "beta_alpha": np.array([beta, alpha])}, info, remarks)


def select(
    arrays: Arrays, val: np.ndarray, labels: np.ndarray, betas: np.ndarray, alphas: np.ndarray
) -> tuple[float, float, float | None]:
    """Return beta, alpha and accuracy of the best pair on normalised validation features, shape (V, D).

    First of the values given, then of finer ones between their neighbours, where those reach more.
    """
    if not len(val):
        return float(betas[0]), float(alphas[0]), None
    text, similarity, one_hot = val @ arrays["prototypes"].T, val @ arrays["keys"].T, _one_hot(arrays)
    best = (0.0, 0.0, -1.0)
    for _ in ("coarse", "fine"):
        for beta in betas.tolist():  # plain numbers leave float32 what it is, as where the method is applied
            with np.errstate(over="ignore"):  # of trained keys; what overflows classifies nothing
                affinity = np.exp(-beta * (1 - similarity)) @ one_hot
            for alpha in alphas.tolist():
                reached = accuracy(text + alpha / 100 * affinity, labels)
                if reached > best[2]:
                    best = (beta, alpha, reached)
        betas, alphas = around(betas, best[0]), around(alphas, best[1])
    return best


def tip_logits(x: np.ndarray, arrays: Arrays, beta: float, alpha: float) -> np.ndarray:
    """Return cos + (alpha / 100) A on the cosine scale, shape (N, K), for normalised x, shape (N, D)."""
    return x @ arrays["prototypes"].T + alpha / 100 * _affinity(x, arrays, beta)


def _affinity(x: np.ndarray, arrays: Arrays, beta: float) -> np.ndarray:
    with np.errstate(over="ignore"):  # trained keys may explode; who asked finds out by the infinities
        return np.exp(-beta * (1 - x @ arrays["keys"].T)) @ _one_hot(arrays)


def _one_hot(arrays: Arrays) -> sparse.csr_matrix:
    """Return the labels of the keys as indicators, shape (keys, K); sparse, for K is a thousand where it matters."""
    labels = arrays["labels"]
    ones = np.ones(len(labels), dtype=np.float32)
    return sparse.csr_matrix((ones, (np.arange(len(labels)), labels)), shape=(len(labels), len(arrays["prototypes"])))
