"""Tip-Adapter: a key-value cache of the shots beside the text classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat
from scipy import sparse

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, accuracy, normalise
from oodgrid.adapt.training import Family, mean_view
from oodgrid.registry import method

PUBLISHED = (1.0, 1.17)  # beta, alpha: the official starting values for ImageNet
LOWEST, STEPS = 0.1, (40, 20)  # of the search over beta and alpha; the code takes 200 and 20 steps


@method(
    leaves="logits",
    needs=("prototypes", "shots"),
    paper="Zhang et al. 2022 (ECCV), Tip-Adapter, equations 3-6; github.com/gaopengcuhk/Tip-Adapter",
)
@dataclass(frozen=True)
class TipAdapter:
    """Tip-Adapter: 100 x · t_k + alpha A_k(x), with A(x) = exp(-beta (1 - x Kᵀ)) L; nothing is trained.

    K are the normalised shots, L their one-hot labels, x the normalised feature. alpha and beta, where not
    given, are chosen by accuracy on the few-shot validation set over a grid from 0.1 to `beta_to` and `alpha_to` (ties:
    the smallest beta, then alpha), and are the published beta 1, alpha 1.17 where there is none.

    Scale: logits = cos + (alpha / 100) A, so that T = .01 gives the method's own softmax.
    Keys are the mean of the cached `views`, normalised after (the official code: ten of rrc50), or the centre view
    where none are named.
    Deviations: the official code selects on the test set, in 200 steps of beta where these are 40, and up to (beta,
    alpha) = (7, 3) for ImageNet and pets, as here for all sets, but (12, 5) for Caltech-101, (10, 10) for food and
    (20, 10) for cars.
    """

    alpha: NonNegativeFloat | None = None
    beta: NonNegativeFloat | None = None
    beta_to: PositiveFloat = 7.0
    alpha_to: PositiveFloat = 3.0
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
    betas = np.linspace(LOWEST, method.beta_to, STEPS[0]) if method.beta is None else [method.beta]
    alphas = np.linspace(LOWEST, method.alpha_to, STEPS[1]) if method.alpha is None else [method.alpha]
    if not len(data.val) and len(betas) * len(alphas) > 1:
        betas = [PUBLISHED[0]] if method.beta is None else betas
        alphas = [PUBLISHED[1]] if method.alpha is None else alphas
    beta, alpha, val_accuracy = select(arrays, normalise(data.val), data.val_labels, betas, alphas)
    info = {"beta": beta, "alpha": alpha, "val_accuracy": val_accuracy, "val_labels_used": len(data.val)}
    return Learned({**arrays, "beta_alpha": np.array([beta, alpha])}, info)


def select(
    arrays: Arrays, val: np.ndarray, labels: np.ndarray, betas: np.ndarray | list, alphas: np.ndarray | list
) -> tuple[float, float, float | None]:
    """Return beta, alpha and accuracy of the best pair on normalised validation features, shape (V, D)."""
    if not len(val):
        return float(betas[0]), float(alphas[0]), None
    text, best = val @ arrays["prototypes"].T, (-1.0, 0.0, 0.0)
    similarity, one_hot = val @ arrays["keys"].T, _one_hot(arrays)
    for beta in betas:
        affinity = np.exp(-beta * (1 - similarity)) @ one_hot
        for alpha in alphas:
            reached = accuracy(text + alpha / 100 * affinity, labels)
            if reached > best[0]:
                best = (reached, float(beta), float(alpha))
    return best[1], best[2], best[0]


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
