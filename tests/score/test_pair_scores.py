"""Scores of pairs against their formulas, and why they are skipped elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oodgrid import scores
from tests.failing import failure


def test_formulas_against_loops():
    rng = np.random.default_rng(0)
    features, pair_texts, logits = rng.normal(size=(7, 4)), rng.normal(size=(7, 4)), rng.normal(size=7) * 8
    for row in range(7):
        x, t = features[row], pair_texts[row]
        cos = float(x @ t) / (math.sqrt(x @ x) * math.sqrt(t @ t))
        z = 1 / (1 + math.exp(-logits[row]))
        assert scores.pair_cosine(features, pair_texts)[row] == pytest.approx(cos, abs=1e-12)
        assert scores.pair_probability(logits)[row] == pytest.approx(z, abs=1e-12)
        fused = scores.pair_fused(features, pair_texts, logits)[row]
        assert fused == pytest.approx(((1 + cos) / 2 + z) / 2, abs=1e-12)
        product = scores.pair_fused(features, pair_texts, logits, rule="product")[row]
        assert product == pytest.approx(z / (1 + math.exp(-cos)), abs=1e-12)


def test_images_alone_have_no_scores_of_pairs():
    values, skipped = scores.all_scores(np.eye(3), names=["pair_cosine", "pair_fused"])
    assert not values and all("pair_texts" in reason or "pair_logits" in reason for reason in skipped.values())
    assert "pair_texts" in failure(scores.pair_cosine, np.eye(3), np.eye(4))
