"""Linear probe: logistic regression on frozen features."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import PositiveFloat

from oodgrid.adapt.contract import (
    Arrays,
    Classifier,
    FitData,
    Learned,
    TextSide,
    accuracy,
    check_every_class,
    normalise,
)
from oodgrid.adapt.search import best_until_inside, end_remarks
from oodgrid.registry import method

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

DEFAULT_C = 250.0
GRID, FACTOR, LIMITS = (2.5, 25.0, 250.0), 10.0, (2.5e-3, 2.5e5)
TOLERANCE = 1e-6  # at scikit-learn's 1e-4 a warm start stops at once on unit features: C = 250 would be C = 25


@method(
    title="Linear probe",
    look="sky ^",
    leaves="prototypes",
    needs=("shots",),
    paper="Radford et al. 2021, section 3.2 (linear probe)",
)
@dataclass(frozen=True)
class LinearProbe:
    """Linear probe: multinomial logistic regression (scikit-learn, L-BFGS) on L2-normalised features.

    C is the inverse strength of the L2 penalty. Given, it is used; else it is chosen from 2.5, 25 and 250
    by accuracy on the few-shot validation set (ties: the smaller C), and 250 where there is none. Where the best is an
    end of that grid, the grid grows by tens, within 0.0025-250000, while the value outside is better. C = 250 on
    unit features equals C = 10 on features times 5.

    Scale: the probe is trained at temperature 1 on its own logits z; here logits = z / 100, so that T = .01
    gives the probe's own softmax, as for every method trained on CLIP's 100 cos. Temperatures on a probe do
    not mean what they mean on cosines: compare its scores with care.

    Deviation from the paper: unit features, and a grid of three values that grows in place of a sweep of 96.
    """

    C: PositiveFloat | None = None

    def fit(self, data: FitData) -> Learned:
        """Fit one probe for every candidate of C and keep the best on validation."""
        check_every_class(data.train_labels, data.classes)
        x, val = normalise(data.train), normalise(data.val)
        probe, probes = _probe(x, data.train_labels), {}
        if self.C is not None or not len(val):
            chosen = self.C or DEFAULT_C
            return Learned(probe(chosen), {"C": chosen, "val_accuracy": None})

        def accuracy_of(c: float) -> float:
            probes[c] = probe(c)
            return accuracy(val @ probes[c]["weights"].T + probes[c]["bias"], data.val_labels)

        chosen, best = best_until_inside(accuracy_of, GRID, FACTOR, LIMITS)
        info = {"C": chosen, "val_accuracy": best, "val_labels_used": len(val)}
        return Learned(probes[chosen], info, end_remarks("C", chosen, *LIMITS))

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return the probe's logits divided by 100."""
        return Classifier(learned["weights"] / 100, learned["bias"] / 100)


def _probe(x: np.ndarray, labels: np.ndarray) -> Callable[[float], Arrays]:
    """Return a function that fits weights (K, D) and bias (K,) for one C, starting from its previous solution."""
    from sklearn.linear_model import LogisticRegression

    model, values = LogisticRegression(max_iter=5000, tol=TOLERANCE, warm_start=True), x.astype(np.float64)

    def fit(c: float) -> Arrays:
        with warnings.catch_warnings():  # one shot a class is no mistake
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            return _both_rows(model.set_params(C=c).fit(values, labels))

    return fit


def _both_rows(fitted: LogisticRegression) -> Arrays:
    weights, bias = fitted.coef_, fitted.intercept_
    if len(weights) == 1:  # scikit-learn keeps one row for two classes
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return {"weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}
