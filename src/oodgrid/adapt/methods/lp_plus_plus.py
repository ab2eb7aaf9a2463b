"""LP++: a linear probe beside the text classifier, with step sizes from the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from oodgrid.adapt.contract import (
    Arrays,
    Classifier,
    Diverged,
    FitData,
    Learned,
    TextSide,
    check_every_class,
    normalise,
)
from oodgrid.adapt.search import epoch_remarks
from oodgrid.labels import has_class
from oodgrid.registry import method

ALPHA_EVERY = 10  # epochs
ALPHA_START = 250.0  # times the mean cosine of a shot with its class
ROWS = 1024  # samples per block: new memory for all samples costs more time than the products


@method(
    title="LP++",
    look="sky p -. hollow",
    leaves="prototypes",
    needs=("prototypes", "shots"),
    paper="Huang et al. 2024 (CVPR), LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP, equations 3-9; "
    "github.com/FereshteShakeri/FewShot-CLIP-Strong-Baseline",
)
@dataclass(frozen=True)
class LpPlusPlus:
    """LP++: z_k = x · w_k + b_k + α_k cos(x, t_k), trained by full-batch descent with rates from the data.

    x is the normalised feature. Start: w_k the sum of the class's shots, b uniform within ±1/√D (from the seed), all
    α_k equal to the mean over classes of 250 mean cos(x, t_k) over the class's shots. Rates: w, b: 4 N / λ_max(XᵀX),
    with momentum 0.9; α: N / (4 max_k Σ_i cos(x_i, t_k)²), a step every ten epochs. 300 epochs; the epoch with the best
    accuracy on the few-shot validation set counts (ties: the later, as in the code), the last where there is none.

    As in the code, and unlike the paper, the gradient of α is never set to zero: each step of α descends on the sum
    of the gradients of all epochs so far.

    Scale: trained at temperature 1 on its own logits z; here logits = z / 100, so that T = .01 gives the method's own
    softmax, as for the linear probe.
    Deviations: on the host, products in float32, parameters and sums over samples in float64 (the code: float16);
    centre views, as in the code.
    """

    epochs: PositiveInt = 300

    def fit(self, data: FitData) -> Learned:
        """Descend, and keep the best epoch on validation."""
        check_every_class(data.train_labels, data.classes)
        known = has_class(data.val_labels)
        val, val_labels = normalise(data.val[known]), data.val_labels[known]
        x, text = normalise(data.train.astype(np.float64)), data.text.prototypes.astype(np.float64)
        descent = _Descent(x, data.train_labels, text, np.random.default_rng(data.seed))
        (weights, bias, alpha), best_epoch = descent.state, 0
        losses: list[float] = []
        accuracies: list[float] = []
        for epoch in range(self.epochs):
            losses.append(descent.step(epoch))
            if not np.isfinite(losses[-1]):
                raise Diverged(f"the loss became {losses[-1]} in epoch {epoch + 1}")
            if len(val):
                accuracies.append(descent.accuracy(val, val_labels))
            if not accuracies or accuracies[-1] == max(accuracies):
                (weights, bias, alpha), best_epoch = descent.state, epoch + 1
        info = {"losses": losses, "val_accuracies": accuracies, "epoch": best_epoch, "val_labels_used": len(val)}
        remarks = epoch_remarks(best_epoch, self.epochs, accuracies)
        return Learned({"weights": weights, "bias": bias, "alpha": alpha}, info, remarks)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return the logits divided by 100: both parts are linear in the feature."""
        return Classifier(learned["weights"] / 100, learned["bias"] / 100)


class _Descent:
    """The parameters during training, in float64; samples come in blocks of float32.

    z is linear in x, so that one product is enough: z = x · W + b with W_k = w_k + α_k t_k. The gradients are sums over
    the error E = softmax(z) - one-hot labels, shape (N, K): that of w is G = Eᵀ X, and that of α_k is
    Σ_i E_ik cos(x_i, t_k) = G_k · t_k, for which no cosines are needed either.
    """

    def __init__(self, x: np.ndarray, labels: np.ndarray, text: np.ndarray, rng: np.random.Generator) -> None:
        (count, width), classes = x.shape, len(text)
        self.x, self.labels, self.text = x.astype(np.float32), labels, text
        self.w, self.b = np.zeros((classes, width)), rng.uniform(-1, 1, classes) * width**-0.5
        np.add.at(self.w, labels, x)
        cosines = (self.w * text).sum(axis=1) / np.bincount(labels)  # w_k is the sum of the class's shots
        self.alpha = np.full(classes, ALPHA_START * cosines.mean())
        spread = x.T @ x
        self.rate = 4 * count / np.linalg.eigvalsh(spread)[-1]
        squares = ((text @ spread) * text).sum(axis=1)  # Σ_i cos(x_i, t_k)² = t_kᵀ XᵀX t_k
        self.alpha_rate = count / (4 * squares.max())
        self.speed, self.b_speed, self.alpha_gradient = np.zeros_like(self.w), np.zeros(classes), np.zeros(classes)

    @property
    def state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """W (K, D), bias (K,) and alpha (K,), as they are now."""
        return self.w + self.alpha[:, None] * self.text, self.b.copy(), self.alpha.copy()

    def accuracy(self, x: np.ndarray, labels: np.ndarray) -> float:
        """Return the accuracy on normalised features, shape (N, D)."""
        return float(np.mean(np.concatenate([z.argmax(axis=1) for _, z in self._logits(x)]) == labels))

    def step(self, epoch: int) -> float:
        """Take one step and return the loss before it."""
        gradient, b_gradient, loss = np.zeros_like(self.w), np.zeros_like(self.b), 0.0
        for rows, z in self._logits(self.x):
            at_label = (np.arange(len(z)), self.labels[rows])
            z -= z.max(axis=1, keepdims=True)
            label_logits = z[at_label]
            sums = np.exp(z, out=z).sum(axis=1, keepdims=True)
            loss += float((np.log(sums[:, 0]) - label_logits).sum(dtype=np.float64))
            z /= sums  # now the softmax,
            z[at_label] -= 1  # and now the error E
            gradient += z.T @ self.x[rows]
            b_gradient += z.sum(axis=0, dtype=np.float64)
        self._descend(gradient / len(self.x), b_gradient / len(self.x), epoch)
        return loss / len(self.x)

    def _descend(self, gradient: np.ndarray, b_gradient: np.ndarray, epoch: int) -> None:
        self.speed = 0.9 * self.speed + gradient
        self.b_speed = 0.9 * self.b_speed + b_gradient
        self.w -= self.rate * self.speed
        self.b -= self.rate * self.b_speed
        self.alpha_gradient += (gradient * self.text).sum(axis=1)
        if (epoch + 1) % ALPHA_EVERY == 0:
            self.alpha -= self.alpha_rate * self.alpha_gradient

    def _logits(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield rows and their z, shape (b, K), float32; the next block overwrites its memory."""
        weights, bias, _ = (values.astype(np.float32) for values in self.state)
        memory = np.empty((min(ROWS, len(x)), len(bias)), np.float32)
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            z = np.matmul(x[rows], weights.T, out=memory[: len(x[rows])])
            z += bias
            yield rows, z
