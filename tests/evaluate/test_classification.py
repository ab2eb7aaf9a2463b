"""Metrics of predictions beside naive arithmetic and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc

from oodgrid.evaluate import classification
from oodgrid.evaluate.metrics import detection_metrics

SAMPLES = st.lists(st.tuples(st.integers(-3, 3).map(float), st.booleans()), min_size=1, max_size=25)
OOD = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=25)


def sides(samples):
    return np.array([score for score, _ in samples]), np.array([right for _, right in samples])


@given(SAMPLES, OOD)
@settings(max_examples=100, deadline=None)
def test_oscr_is_the_area_under_its_curve(samples, ood):
    scores, right = sides(samples)
    thresholds = np.unique(np.concatenate([scores, ood]))[::-1]
    rates = [(np.mean(np.array(ood) >= t), np.mean((scores >= t) & right)) for t in thresholds]
    fpr, ccr = np.array([(0.0, 0.0), *rates]).T
    assert classification.oscr(scores, right, np.array(ood)) == pytest.approx(auc(fpr, ccr), abs=1e-12)


@given(SAMPLES)
@settings(max_examples=100, deadline=None)
def test_aurc_is_the_mean_risk_over_coverages_and_orders_of_ties(samples):
    scores, right = sides(samples)
    rng, found = np.random.default_rng(0), []
    orders = 300 if len(set(scores)) < len(scores) else 1
    for _ in range(orders):
        order = np.lexsort((rng.random(len(scores)), -scores))
        found.append(np.mean(np.cumsum(~right[order]) / np.arange(1, len(scores) + 1)))
    error = np.std(found) / np.sqrt(orders)
    assert classification.aurc(scores, right) == pytest.approx(np.mean(found), abs=6 * error + 1e-12)


def naive_ece(confidence, right):
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15) | ((low == 0) & (confidence == 0))
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return total


@pytest.mark.parametrize("n", [1, 50, 3000])
def test_ece_is_its_definition_and_its_floor_what_calibration_shows(n):
    rng = np.random.default_rng(n)
    confidence = rng.beta(4, 1, n)
    right = rng.random(n) < confidence
    value, floor = classification.ece(confidence, right)
    assert value == pytest.approx(naive_ece(confidence, right), abs=1e-12)
    redrawn = [naive_ece(confidence, rng.random(n) < confidence) for _ in range(300)]
    assert floor == pytest.approx(np.mean(redrawn), abs=4 * np.std(redrawn) / np.sqrt(20) + 1e-9)


def test_metrics_without_predictions_or_probabilities_are_null():
    scores, labels, ood = np.array([0.2, 0.9]), np.array([0, -1]), np.array([0.1])
    none = classification.of_predictions("msp", scores, labels, np.array([-1, -1]), ood)
    assert none == {"oscr": None, "aurc": None, "ece": None, "ece_floor": None}
    no_class = classification.of_predictions("msp", scores, np.array([-1, -1]), np.array([0, 1]), ood)
    assert no_class == none
    energy = classification.of_predictions("energy", scores, labels, np.array([0, 1]), ood)
    assert (energy["ece"], energy["oscr"], energy["aurc"]) == (None, 1.0, 0.0)
    assert classification.of_predictions("msp", scores, labels, np.array([0, 1]), ood)["ece"] == pytest.approx(0.8)


def test_oscr_of_a_perfect_classifier_is_the_auroc():
    rng = np.random.default_rng(0)
    scores, ood = rng.normal(1, 1, 40).round(1), rng.normal(0, 1, 30).round(1)
    area = detection_metrics(scores, ood)["auroc"]
    assert classification.oscr(scores, np.ones(40, bool), ood) == pytest.approx(area, abs=1e-12)
