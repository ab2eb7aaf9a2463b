"""ID sets of one class: scores that look at features run, and what tells classes apart is skipped with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import manifests, methods, registry, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.fit import fit
from oodgrid.score.run import score

SCORES = ["mcm", "msp", "max_logit", "energy", "vim", "knn", "mahalanobis", "relative_mahalanobis", "single_gaussian",
          "residual", "mood", {"name": "mood", "by": "nearest"}, {"name": "mood", "by": "mean"}]  # fmt: skip
OF_FEATURES = {"knn", "mahalanobis", "single_gaussian", "residual", "mood", "mood@by=nearest", "mood@by=mean"}


@pytest.fixture
def alone(mini):
    """An ID set of one class, and an OOD set of another."""
    for split, count, seed in (("train", 20, 1), ("val", 8, 2), ("test", 12, 3)):
        mini.features("pets", split, np.zeros(count, dtype=int), seed)
    mini.features("cars", "test", np.full(9, 5), 4)
    mini.texts(np.random.default_rng(3).normal(size=(1, 1, 16)).astype(np.float32), names=["fox"])
    return mini


def scored(mini, experiment, method):
    names = (mini.results, experiment, "mini", "pets", method)
    if method != "any":
        fit(*names)
        apply(*names)
    return store.read_table(score(*names))


def test_scores_of_features_run(alone):
    experiment = alone.experiment("prototype", shots=[8], scores=SCORES)
    table, about = scored(alone, experiment, "any")
    filled = {name for name in table.columns if name in OF_FEATURES and not table[name].has_nulls()}
    assert filled == OF_FEATURES
    assert table["relative_mahalanobis"].is_null().all()
    assert "it compares classes, and the ID set has one" in str(about)
    assert table["prediction"].is_null().all()
    for name in OF_FEATURES - {"mood@by=mean", "mood@by=nearest"}:
        known, other = (table.filter(table["dataset"] == each)[name].to_numpy() for each in ("pets", "cars"))
        assert np.median(known) > np.median(other), name
    np.testing.assert_array_equal(table["mood"], table["mood@by=nearest"])  # one class is the whole


@pytest.mark.parametrize("method", ["zero_shot", "prototype"])
def test_of_logits_the_cosine_is_left(alone, method):
    table, about = scored(alone, alone.experiment(method, shots=[8], scores=SCORES), method)
    assert not table["max_logit"].has_nulls()
    assert table["prediction"].is_null().all()  # so there is no accuracy
    for name in ("mcm", "msp", "energy", "vim"):
        assert table[name].is_null().all(), name
    assert "it compares classes, and the ID set has one" in str(about)


@pytest.mark.parametrize("method", ["tip_adapter", "coop"])
def test_what_learns_to_tell_classes_apart_is_skipped(alone, method):
    experiment = alone.experiment(method, shots=[2])
    [left] = manifests.read(fit(alone.results, experiment, "mini", "pets", method), manifests.Fitted).fits
    assert (left.status, left.reason) == ("skipped", "pets has one class: there are no classes to tell apart")


def test_every_method_and_score_says_what_one_class_is_to_it():
    assert {n for n, e in registry.entries("method").items() if e.makes_of_one} == {"zero_shot", "prototype"}
    of_logits = {n for n, e in registry.entries("score").items() if e.makes_of_one and "logits" in e.needs}
    lists = {n for n, e in registry.entries("score").items() if e.label_lists}
    assert of_logits - lists == {"max_logit"}


def test_the_library_takes_one_class():
    x = np.eye(4)
    assert methods.prototype(x, [0, 0, 0, 0]).logits(x).shape == (4, 1)
