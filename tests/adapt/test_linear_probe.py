"""The linear probe against scikit-learn, and the choice of C."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from oodgrid import registry
from oodgrid.adapt.contract import Skip
from oodgrid.adapt.methods import linear_probe
from oodgrid.errors import OodgridError


def probe(**params):
    return registry.find("method", "linear_probe").make(**params)


def unit_norm(values):
    values = values.astype(np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def logits_of(method, data, features):
    classifier = method.classifier(method.fit(data).arrays, data.text)
    return unit_norm(features) @ classifier.prototypes.T + classifier.bias


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("C", [1.0, 250.0])
def test_softmax_of_a_hundred_times_the_logits_is_scikit_learn_s_probability(few_shot, classes, C):
    data = few_shot(shots=8, classes=classes)
    fitted = LogisticRegression(C=C, max_iter=5000, tol=1e-8).fit(unit_norm(data.train), data.train_labels)
    logits = logits_of(probe(C=C), data, data.val)
    assert logits.shape == (4 * classes, classes)
    np.testing.assert_allclose(softmax(100 * logits, axis=1), fitted.predict_proba(unit_norm(data.val)), atol=1e-4)


def test_c_250_on_unit_features_is_c_10_on_five_times_longer_ones(few_shot):
    data = few_shot(shots=8)
    fitted = LogisticRegression(C=10, max_iter=5000, tol=1e-8).fit(5 * unit_norm(data.train), data.train_labels)
    expected = fitted.predict_proba(5 * unit_norm(data.val))
    np.testing.assert_allclose(softmax(100 * logits_of(probe(C=250), data, data.val), axis=1), expected, atol=1e-4)


def test_the_probe_does_not_see_the_norms_of_images(few_shot):
    data = few_shot()
    scaled = few_shot(train=data.train * np.linspace(0.1, 9, len(data.train), dtype=np.float32)[:, None])
    first, second = (logits_of(probe(C=25), given, data.val) for given in (data, scaled))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_two_classes_have_opposite_logits(few_shot):
    logits = logits_of(probe(C=250), few_shot(classes=2), few_shot(classes=2).val)
    np.testing.assert_allclose(logits[:, 0], -logits[:, 1], atol=1e-8)


def test_c_is_chosen_by_validation_accuracy_and_the_smaller_of_equals(few_shot):
    data = few_shot(shots=8, classes=4, val_shots=20, spread=3)
    reached = {}
    for C in (2.5, 25.0, 250.0):
        fitted = LogisticRegression(C=C, max_iter=5000, tol=1e-8).fit(unit_norm(data.train), data.train_labels)
        reached[C] = fitted.score(unit_norm(data.val), data.val_labels)
    assert len(set(reached.values())) > 1, "the case must tell the candidates apart"
    best = min(C for C in reached if reached[C] == max(reached.values()))
    learned = probe().fit(data)
    assert learned.info == {"C": best, "val_accuracy": pytest.approx(reached[best]), "val_labels_used": 80}


def test_the_largest_c_is_no_copy_of_the_one_before(few_shot, monkeypatch):
    """The candidates start from each other's solutions; each must still arrive at its own."""
    data = few_shot(shots=8, classes=8, names=list("abcdefgh"))
    rising = iter([0, 1, 2, 1])  # 2500 is tried and no better
    monkeypatch.setattr(linear_probe, "accuracy", lambda logits, labels: next(rising))
    learned = probe().fit(data)
    assert learned.info["C"] == 250
    fitted = LogisticRegression(C=250, max_iter=5000, tol=1e-9).fit(unit_norm(data.train), data.train_labels)
    logits = unit_norm(data.val) @ learned.arrays["weights"].T + learned.arrays["bias"]
    np.testing.assert_allclose(softmax(logits, axis=1), fitted.predict_proba(unit_norm(data.val)), atol=0.01)


@pytest.mark.parametrize(
    ("reached", "chosen", "said"),
    [
        ({2.5: 0.1, 25: 0.2, 250: 0.3, 2500: 0.4, 25000: 0.35}, 2500, []),
        ({2.5: 0.3, 25: 0.2, 250: 0.1, 0.25: 0.4, 0.025: 0.4}, 0.25, []),
        ({2.5: 0.3, 25: 0.2, 250: 0.1, 0.25: 0.3}, 2.5, []),
        (
            {2.5: 0.1, 25: 0.2, 250: 0.3, 2500: 0.4, 25e3: 0.5, 25e4: 0.6},
            25e4, ["C is at the upper end of its search, 250000"],
        ),
        (
            {2.5: 0.7, 25: 0.2, 250: 0.1, 0.25: 0.8, 0.025: 0.9, 0.0025: 0.95},
            0.0025, ["C is at the lower end of its search, 0.0025"],
        ),
    ],
)  # fmt: skip
def test_the_grid_grows_until_the_best_is_inside_and_an_end_is_said(few_shot, monkeypatch, reached, chosen, said):
    tried = []
    monkeypatch.setattr(
        linear_probe, "_probe", lambda x, y: lambda c: tried.append(c) or {"weights": np.eye(16)[:3], "bias": c}
    )
    monkeypatch.setattr(linear_probe, "accuracy", lambda logits, labels: reached[round(tried[-1], 6)])
    learned = probe().fit(few_shot())
    assert learned.info["C"] == pytest.approx(chosen)
    assert learned.remarks == said
    assert sorted(round(c, 6) for c in tried) == sorted(reached), "no value outside a grid whose best is inside"


def test_all_equal_on_validation_gives_the_smallest_c(few_shot):
    data = few_shot()
    easy = few_shot(val=data.train[::4], val_labels=data.train_labels[::4])
    assert probe().fit(easy).info == {"C": 2.5, "val_accuracy": 1.0, "val_labels_used": 3}


def test_without_validation_c_is_250(few_shot):
    data = few_shot(val_shots=0)
    learned, given = probe().fit(data), probe(C=250).fit(data)
    assert learned.info == {"C": 250.0, "val_accuracy": None}
    np.testing.assert_array_equal(learned.arrays["weights"], given.arrays["weights"])


def test_a_given_c_is_used_even_where_there_is_validation(few_shot):
    assert probe(C=0.5).fit(few_shot()).info == {"C": 0.5, "val_accuracy": None}


def test_one_shot_a_class(few_shot):
    data = few_shot(shots=1, val_shots=0)
    assert logits_of(probe(), data, data.train).argmax(axis=1).tolist() == [0, 1, 2]


def test_a_class_without_shots_is_skipped(few_shot):
    with pytest.raises(Skip, match="class 1 has no training sample"):
        probe().fit(few_shot(train_labels=np.array([0] * 6 + [2] * 6)))


@pytest.mark.parametrize("C", [0, -1])
def test_c_must_be_positive(C):
    with pytest.raises(OodgridError, match=f"method linear_probe: C = {C} does not fit"):
        registry.check_params("method", "linear_probe", {"C": C})
