"""Tip-Adapter: a key-value cache of the shots beside the text classifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, normalise
from oodgrid.adapt.search import around, end_remarks, scale
from oodgrid.adapt.training import Family, mean_view
from oodgrid.labels import has_class
from oodgrid.registry import method

BETA_START, ALPHA_START = 1.0, 1.17  # official, for ImageNet, pets, food and SUN397
LOWEST = 0.1  # of the search over beta and alpha, as in the official code
STEPS = 24  # of each, at equal ratios, before it is refined
ROWS = 256  # samples per block: new memory for all samples costs more time than the products


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
        labels = data.train_labels.astype(np.int64)
        return finish(
            self, {"keys": normalise(mean_view(data)), "labels": labels, "prototypes": data.text.prototypes}, data
        )

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return the two-part logits, computed in float64.

        float32 would show in an image's last bits where in the block of images it stands.
        """
        beta, alpha = (float(value) for value in learned["beta_alpha"])
        exact = {name: learned[name].astype(np.float64) for name in ("keys", "prototypes")}
        cache = KeyCache({**learned, **exact})

        def logits(features: np.ndarray) -> np.ndarray:
            return cache.logits(normalise(features.astype(np.float64)), beta, alpha).astype(np.float32)

        return Classifier(learned["prototypes"], logits=logits)


def finish(method: TipAdapter, arrays: Arrays, data: FitData) -> Learned:
    """Choose alpha and beta for a cache, and return it with them as the result of a fit."""
    if len(data.val):
        betas = scale(LOWEST, method.beta_to, STEPS) if method.beta is None else np.array([method.beta])
        alphas = scale(LOWEST, method.alpha_to, STEPS) if method.alpha is None else np.array([method.alpha])
    else:
        betas = np.array([method.beta_start if method.beta is None else method.beta])
        alphas = np.array([method.alpha_start if method.alpha is None else method.alpha])
    beta, alpha, accuracy = select(arrays, normalise(data.val), data.val_labels, betas, alphas)
    remarks = [
        *(end_remarks("beta", beta, betas[0], betas[-1]) if len(betas) > 1 else ()),
        *(end_remarks("alpha", alpha, alphas[0], alphas[-1]) if len(alphas) > 1 else ()),
    ]
    info = {"beta": beta, "alpha": alpha, "val_accuracy": accuracy, "val_labels_used": len(data.val)}
    return Learned({**arrays, "beta_alpha": np.array([beta, alpha])}, info, remarks)


def select(
    arrays: Arrays, val: np.ndarray, labels: np.ndarray, betas: np.ndarray, alphas: np.ndarray
) -> tuple[float, float, float | None]:
    """Return beta, alpha and accuracy of the best pair on normalised validation features, shape (V, D).

    First on the grid of these values, then on a finer one around the best, whose values must be better to be taken.
    """
    val, labels = val[has_class(labels)], labels[has_class(labels)]
    if not len(val):
        return float(betas[0]), float(alphas[0]), None
    cache, best = KeyCache(arrays), (0.0, 0.0, -1.0)
    for _ in ("coarse", "fine"):
        accuracies = cache.count_right(val, labels, betas, alphas) / len(val)
        row, column = np.unravel_index(
            accuracies.argmax(), accuracies.shape
        )  # the first of equals: the smallest values
        if accuracies[row, column] > best[2]:
            best = (float(betas[row]), float(alphas[column]), float(accuracies[row, column]))
        betas, alphas = around(betas, best[0]), around(alphas, best[1])
    return best


class KeyCache:
    """The cache model of keys (M, D), their labels (M,) and text prototypes (K, D), for normalised samples.

    The keys are sorted by class, so that the affinity of a sample to a class is a sum over adjacent keys. Samples come
    in blocks, in the precision of keys and samples.
    """

    def __init__(self, arrays: Arrays) -> None:
        order = np.argsort(arrays["labels"], kind="stable")
        self._keys, self._prototypes = arrays["keys"][order], arrays["prototypes"]
        self._classes, self._starts = np.unique(arrays["labels"][order], return_index=True)

    def logits(self, x: np.ndarray, beta: float, alpha: float) -> np.ndarray:
        """Return cos + (alpha / 100) A on the cosine scale, shape (N, K), for x of shape (N, D)."""
        logits = np.empty((len(x), len(self._prototypes)), np.result_type(x, self._keys))
        for rows, text, gaps in self._blocks(x):
            logits[rows] = text + alpha / 100 * self._affinity(gaps, beta, out=gaps)
        return logits

    def count_right(self, x: np.ndarray, labels: np.ndarray, betas: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        """Return how many samples each pair classifies right, shape (betas, alphas)."""
        counts = np.zeros((len(betas), len(alphas)), dtype=np.int64)
        work = None
        for rows, text, gaps in self._blocks(x):
            work = np.empty_like(gaps) if work is None else work[: len(gaps)]
            for row, beta in enumerate(betas.tolist()):  # Python's floats leave float32 as it is, np.float64 would not
                affinity = self._affinity(gaps, beta, out=work)
                for column, alpha in enumerate(alphas.tolist()):
                    predicted = (text + alpha / 100 * affinity).argmax(axis=1)
                    counts[row, column] += np.count_nonzero(predicted == labels[rows])
        return counts

    def _blocks(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield rows, cosines with the texts, shape (b, K), and x · key - 1, shape (b, M), overwritten by the next."""
        memory = np.empty((min(ROWS, len(x)), len(self._keys)), np.result_type(x, self._keys))
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            gaps = np.matmul(x[rows], self._keys.T, out=memory[: len(x[rows])])
            gaps -= 1
            yield rows, x[rows] @ self._prototypes.T, gaps

    def _affinity(self, gaps: np.ndarray, beta: float, out: np.ndarray) -> np.ndarray:
        """Return A, shape (b, K), of `gaps`, shape (b, M); `out` is overwritten."""
        affinity = np.zeros((len(gaps), len(self._prototypes)), gaps.dtype)
        with np.errstate(over="ignore"):  # trained keys may explode: callers check that the results are finite
            np.exp(np.multiply(gaps, beta, out=out), out=out)
            affinity[:, self._classes] = np.add.reduceat(out, self._starts, axis=1)
        return affinity
