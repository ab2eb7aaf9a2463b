"""CMA: maximum concept matching among classes and neutral agents."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Skip, TextList
from oodgrid.score.products import product
from oodgrid.signatures import ListName


@score(
    title="CMA",
    needs=("features", "logits"),
    family="vision-language",
    paper="Lee et al. 2025 (AAAI); github.com/yuxiaoLeeMarks/CMA (utils/detection_util.py)",
)
def cma(
    features: np.ndarray,
    logits: np.ndarray,
    *,
    agents: Annotated[TextList, ListName("cma-agents")],
    ratio: PositiveFloat = 1.0,
    T: PositiveFloat = 1.0,
) -> np.ndarray:
    """Concept matching with agents: max_k p_k of one softmax over classes k and ceil(ratio K) agents.

    The agents are neutral prompts ("a photo of a thing."), repeated in turn until there are enough of them.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        agents: The prompts, by default the published five; where there are more than enough, the first ones.
        ratio: Agents per class.
        T: Temperature on cosines.

    Returns:
        Shape (N,), in (0, 1).

    Raises:
        Skip: There is no agent.
    """
    if not agents.names:
        raise Skip("the list of agents is empty")
    count = math.ceil(logits.shape[1] * ratio)
    times = np.bincount(np.arange(count) % len(agents.names))
    cosines = product(features, agents.features[: len(times)])
    top = np.maximum(logits.max(axis=1), cosines.max(axis=1))[:, None]
    classes = np.exp((logits - top) / T)
    return classes.max(axis=1) / (classes.sum(axis=1) + np.exp((cosines - top) / T) @ times)
