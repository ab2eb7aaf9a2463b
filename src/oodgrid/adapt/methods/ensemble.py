"""Ensemble: the mean of what other methods of the experiment believe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, PositiveFloat

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide
from oodgrid.errors import OodgridError, Skip
from oodgrid.registry import method

SCALE = 0.01  # of logits on the cosine scale: a hundredth of what a softmax takes


def _each_once(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in alphabetical order, so that the order in which they are written decides nothing.

    Raises:
        OodgridError: There is none, or one stands there twice.
    """
    if not parts:
        raise OodgridError(
            "method ensemble: of names no part: write some of the experiment's methods, as of: [zero_shot]"
        )
    if twice := next((name for name in parts if parts.count(name) > 1), None):
        raise OodgridError(f"method ensemble: of names {twice} twice: leave it once")
    return tuple(sorted(parts))


@method(
    title="Ensemble",
    look="grey d -- hollow",
    leaves="logits",
    needs=("parts",),
    paper="Humblot-Renaux et al. 2025 (ICCV workshops), COOkeD: Ensemble-based OOD detection in the era of zero-shot "
    "CLIP (arXiv 2507.22576); github.com/glhr/COOkeD at 217223b (eval.py)",
)
@dataclass(frozen=True)
class Ensemble:
    """Ensemble: the mean of the softmaxes of other methods of the same experiment, named as it lists them in `of`.

    p = mean over parts m of softmax(s_m / T), of the logits s_m that part m leaves, on their own scale: T = .01 is the
    softmax of CLIP's 100 cos, and of a probe's own logits. A part that learns is taken at the same shots and seed; one
    that learns nothing, as `zero_shot`, at all of them; where no part learns there is one fit. Where a part was skipped
    or failed there is no ensemble, and the reason says which. Nothing is learned, and no part computed again.

    Scale: logits = log(p) / 100, so that `msp` and `entropy` are those of p, COOkeD's two scores. Their normaliser is 0
    for every sample, so `energy` says nothing and is skipped, as are scores of a head and of label lists.

    Deviations: COOkeD's third part, a classifier trained end to end from the pixels, is not here; a probe's recipe is
    that of `linear_probe`, on L2-normalised features, where the code's is SGD on features by their own norm.
    """

    of: Annotated[tuple[str, ...], AfterValidator(_each_once)] = ("linear_probe", "zero_shot")
    T: PositiveFloat = 0.01

    def combine(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return log(p) / 100, shape (n, K), of the logits (n, K) of each part; finite however small p is."""
        logs = [_log_softmax(logits / self.T) for logits in parts]
        return SCALE * (np.logaddexp.reduce(logs) - np.log(len(logs)))

    def fit(self, data: FitData) -> Learned:
        """Learn nothing; the stage has found the fits of the parts."""
        if not data.parts:
            raise Skip("it combines methods of an experiment; of arrays, take the mean of their softmaxes")
        return Learned({"parts": np.array(len(data.parts), np.int32)}, {"parts": data.parts})

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Refuse: what the parts left of each set is combined, and no function of features remains."""
        raise OodgridError("an ensemble is made of what its parts left of each set: take one of its parts here")


def _log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
