"""Relation: similarity to the bank in features and predictions."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Bank, by_similarities, probabilities, product
from oodgrid.score.fitted import bank_probabilities
from oodgrid.score.products import Block


@score(
    title="Relation",
    needs=("features", "logits", "bank"),
    bank_logits=True,
    family="features",
    paper="Kim et al. 2023 (NeurIPS), section 3; github.com/snu-mllab/Neural-Relation-Graph",
    adapted="softmax of cosines at T = .01; the graph is of the shots, not of the training set",
)
def relation(
    features: np.ndarray,
    logits: np.ndarray,
    bank: Bank,
    *,
    power: PositiveFloat = 1.0,
    threshold: NonNegativeFloat = 0.03,
    T: PositiveFloat = 0.01,
) -> np.ndarray:
    """Neural relation graph: sum_i r_i^power over r_i > threshold, r_i = max(cos(x, z_i), 0) · p(x)·p(z_i).

    p = softmax(s / T), T = .01 being the method's own. The published code takes 1 / sum as its OOD score: the same
    ranking.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        bank: The shots, with the logits of the same method; their labels do not count. Of few shots many samples
            may have no relation above the threshold: they all score 0.
        power: Published as best for OOD detection: 1.
        threshold: Weaker relations are cut, as in the published code.
        T: Temperature on cosines.

    Returns:
        Shape (N,), at least 0.

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    p_bank = bank_probabilities(bank, T=T, precision=bank.precision)

    def strength(cosines: Block, p: Block) -> Block:
        relations = product(p, p_bank, bank.precision)
        relations *= cosines
        relations[relations <= threshold] = 0  # negative cosines too
        return (relations if power == 1 else relations**power).sum(axis=1)

    return by_similarities(strength, features, bank, probabilities(logits, T=T))
