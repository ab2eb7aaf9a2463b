"""MLP head: its losses against loops, what it degenerates to, and what training does to the angles of classes."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import registry
from oodgrid.adapt.contract import class_means, normalise
from oodgrid.config import parse
from tests.adapt.test_opsupcon import supcon
from tests.failing import failure

pytest.importorskip("torch")


def fitted(data, name="mlp_head", **params):
    made = registry.find("method", name).make(**params)
    learned = made.fit(data)
    return learned, made.classifier(learned.arrays, data.text)


def compactness(features, labels):
    means = class_means(features, labels, 3)
    return np.degrees(np.arccos((normalise(features) * means[labels]).sum(axis=1).clip(-1, 1))).mean()


def test_without_training_it_is_the_prototypes(few_shot):
    data = few_shot()
    learned, classifier = fitted(data, epochs=0)
    assert learned.info["losses"] == []
    np.testing.assert_allclose(classifier.prototypes, fitted(data, "prototype")[1].prototypes, atol=1e-7)
    np.testing.assert_allclose(classifier.change(data.val), normalise(data.val), atol=1e-7)


@pytest.mark.parametrize(("cross_entropy", "contrast"), [(1.0, 2.0), (1.0, 0.0), (0.0, 1.0), (0.5, 3.0)])
def test_the_loss_against_loops(few_shot, cross_entropy, contrast):
    data = few_shot(shots=3)
    params = {"cross_entropy": cross_entropy, "contrast": contrast, "tau": 0.2}
    learned, _ = fitted(data, epochs=1, lr=0, **params)  # one batch of all, at the start
    x, y = normalise(data.train.astype(np.float64)), data.train_labels
    logits = x @ class_means(data.train, y, 3).T.astype(np.float64) / 0.2
    classified = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, y, strict=True)])
    expected = cross_entropy * classified + contrast * supcon(x, y.tolist(), [], 0.2)
    assert learned.info["losses"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("losses", [{"contrast": 0}, {"cross_entropy": 0}, {}])
def test_training_draws_classes_together(few_shot, losses):
    data = few_shot(shots=8, spread=1.5)
    learned, classifier = fitted(data, epochs=60, lr=1.0, **losses)
    assert learned.info["losses"][-1] < learned.info["losses"][0]
    changed = classifier.change(data.train)
    assert compactness(changed, data.train_labels) < compactness(data.train, data.train_labels) - 2
    again = fitted(data, epochs=60, lr=1.0, **losses)[0]
    assert all(np.array_equal(values, again.arrays[name]) for name, values in learned.arrays.items())


def test_without_cross_entropy_the_prototypes_are_means_of_what_was_learned(few_shot):
    data = few_shot()
    _, classifier = fitted(data, epochs=20, cross_entropy=0)
    means = class_means(classifier.change(data.train), data.train_labels, 3)
    np.testing.assert_allclose(classifier.prototypes, means, atol=1e-6)


def test_a_head_without_a_loss_is_refused_with_the_configuration(experiment_of):
    """And not by the job that fits it; of a study of 0 and 1 that leaves one weight, both are taken."""
    for kept in ("cross_entropy", "contrast"):
        parse(experiment_of(methods=[{"name": "mlp_head", "cross_entropy": 0, "contrast": 0, kept: 1}], shots=[1]))
    wrong = experiment_of(methods=[{"name": "mlp_head", "cross_entropy": 0, "contrast": 0.0}], shots=[1])
    assert "mlp_head: cross_entropy and contrast are both 0" in failure(parse, wrong)
