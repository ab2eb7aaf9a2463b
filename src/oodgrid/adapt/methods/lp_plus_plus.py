"""LP++: a linear probe beside the text classifier, with step sizes from the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, Diverged, FitData, Learned, Skip, TextSide, accuracy, normalise
from oodgrid.adapt.search import epoch_remarks
from oodgrid.registry import method

ALPHA_EVERY = 10  # epochs
ALPHA_START = 250.0  # times the mean cosine of a shot with its class


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
    """LP++: z_k = x · w_k + b_k + α_k cos(x, t_k), trained by full-batch descent with no rate to choose.

    x is the normalised feature. Start: w_k the sum of the class's shots, b uniform within ±1/√D (from the seed), all
    α_k equal to the mean over classes of 250 mean cos(x, t_k) over the class's shots. Rates: w, b: 4 N / λ_max(XᵀX),
    with momentum 0.9; α: N / (4 max_k Σ_i cos(x_i, t_k)²), a step every ten epochs. 300 epochs; the epoch with the best
    accuracy on the few-shot validation set counts (ties: the later, as in the code), the last where there is none.

    As in the code, and unlike the paper, the gradient of α is never set to zero: each step of α descends on the sum
    of the gradients of all epochs so far.

    Scale: trained at temperature 1 on its own logits z; here logits = z / 100, so that T = .01 gives the method's own
    softmax, as for the linear probe.
    Deviations: float64 on the host (the code: float16 sums), centre views, as in the code.
    """

    epochs: PositiveInt = 300

    def fit(self, data: FitData) -> Learned:
        """Descend, and keep the best epoch on validation."""
        x, text = normalise(data.train.astype(np.float64)), data.text.prototypes.astype(np.float64)
        val = normalise(data.val.astype(np.float64))
        one_hot = np.eye(data.classes)[data.train_labels]
        if not one_hot.any(axis=0).all():
            raise Skip("a class has no training sample")
        descent = _Descent(x, one_hot, text, np.random.default_rng(data.seed))
        best, losses, reached = (-1.0, descent.state, 0), [], []
        for epoch in range(self.epochs):
            losses.append(descent.step(epoch))
            if not np.isfinite(losses[-1]):
                raise Diverged(f"the loss became {losses[-1]} in epoch {epoch + 1}")
            if len(val):
                reached.append(accuracy(descent.logits(val), data.val_labels))
            if not len(val) or reached[-1] >= best[0]:
                best = (reached[-1] if len(val) else 0.0, descent.state, epoch + 1)
        w, b, alpha = best[1]
        info = {"losses": losses, "val_accuracies": reached, "epoch": best[2], "val_labels_used": len(val)}
        remarks = epoch_remarks(best[2], self.epochs, reached)
        return Learned({"weights": w + alpha[:, None] * text, "bias": b, "alpha": alpha}, info, remarks)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return the logits divided by 100: both parts are linear in the feature."""
        return Classifier(learned["weights"] / 100, learned["bias"] / 100)


class _Descent:
    """The parameters on their way."""

    def __init__(self, x: np.ndarray, one_hot: np.ndarray, text: np.ndarray, rng: np.random.Generator) -> None:
        (count, width), classes = x.shape, len(text)
        self.x, self.one_hot, self.text, self.cosines = x, one_hot, text, x @ text.T
        self.w, self.b = one_hot.T @ x, rng.uniform(-1, 1, classes) * width**-0.5
        own = (one_hot * self.cosines).sum(axis=0) / one_hot.sum(axis=0)
        self.alpha = np.full(classes, ALPHA_START * own.mean())
        self.rate = 4 * count / np.linalg.norm(x, 2) ** 2
        self.alpha_rate = count / (4 * (self.cosines**2).sum(axis=0).max())
        self.speed = [np.zeros_like(self.w), np.zeros_like(self.b)]
        self.alpha_gradient = np.zeros(classes)

    @property
    def state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights (K, D), bias (K,) and alpha (K,)."""
        return self.w.copy(), self.b.copy(), self.alpha.copy()

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return z, shape (N, K), of normalised features, shape (N, D)."""
        return x @ self.w.T + self.b + self.alpha * (x @ self.text.T)

    def step(self, epoch: int) -> float:
        """Take one step and return the loss before it."""
        z = self.x @ self.w.T + self.b + self.alpha * self.cosines
        z -= z.max(axis=1, keepdims=True)
        logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        error = (np.exp(logs) - self.one_hot) / len(z)
        for speed, gradient in zip(self.speed, (error.T @ self.x, error.sum(axis=0)), strict=True):
            speed *= 0.9
            speed += gradient
        self.w -= self.rate * self.speed[0]
        self.b -= self.rate * self.speed[1]
        self.alpha_gradient += (error * self.cosines).sum(axis=0)
        if (epoch + 1) % ALPHA_EVERY == 0:
            self.alpha -= self.alpha_rate * self.alpha_gradient
        return float(-(self.one_hot * logs).sum() / len(z))
