"""Methods on arrays: what the library fits, and all scores under it, are the numbers that the stages leave."""

from __future__ import annotations

import inspect

import numpy as np
import polars as pl
import pytest

from oodgrid import manifests, methods, paths, registry, scores, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.fit import fit
from oodgrid.fewshot import FewShot
from oodgrid.score.run import score
from tests.failing import failure

NAMES = sorted(registry.entries("method"))
SHORT = {
    "coop": {"epochs": 1, "context_tokens": 2},
    "neg_prompt": {"epochs": 1},
    "clip_adapter": {"epochs": 2},
    "tip_adapter": {},
    "linear_probe": {"C": 25.0},
    "zero_shot": {},
}
SCORES = ["mcm", {"name": "mcm", "T": 0.5}, "mahalanobis", "knn", "vim", "she", "react", "kl_matching", "neg_prompt"]


@pytest.mark.parametrize("name", SHORT)
def test_fits_and_scores_are_those_of_the_stages(mini, name):
    params = SHORT[name]
    made = mini.experiment({"name": name, **params}, scores=SCORES)
    label = made.methods[0].listed("method")
    for step in (fit, apply, score):
        step(mini.results, made, "mini", "pets", label)
    path = paths.scores(mini.results, "mini", "mini", "pets", label)
    table, about = manifests.read_table(path, manifests.ScoreTable)
    tables = [table.filter(pl.col("dataset") == each) for each in ("pets", "cars")]
    [of_fit] = about.fits

    fitted = fitted_of(mini, made, name, params)
    for dataset, expected in zip(("pets", "cars"), tables, strict=True):
        path = paths.features(mini.results, "mini", dataset, "test")
        found, skipped = scores.all_scores(path, method=fitted, names=SCORES)
        shared = set(found) & set(about.params)  # scores of features alone stand under `any`
        assert {"mcm", "mcm@T=0.5"} <= shared
        assert set(skipped) & set(about.params) == set(of_fit.skipped)
        for each in shared:
            np.testing.assert_array_equal(found[each], expected[each].to_numpy(), err_msg=each)
        np.testing.assert_array_equal(fitted.predict(store.read_features(path)), expected["prediction"].to_numpy())


def fitted_of(mini, experiment, name, params):
    """Fit on the arrays that the stage reads."""
    entry = registry.find("method", name)
    if not entry.learns:
        return methods.fit(name, mini_texts(mini), **params)
    drawn = FewShot(mini.results, "mini", experiment.id_dataset("pets")).draw(2, 1)
    texts = (mini_texts(mini),) if {"text", "text_tower", "prototypes"} & set(entry.needs) else ()
    tower = (
        {"classnames": mini_texts(mini).classnames, "backbone": mini.backbone} if "text_tower" in entry.needs else {}
    )
    val = {"val_features": drawn.val.features, "val_labels": drawn.val.labels}
    return methods.fit(name, drawn.bank.features, drawn.bank.labels, *texts, shots=2, **val, **tower, **params)


def mini_texts(mini):
    return store.read_texts(paths.texts(mini.results, "mini", "pets"))


@pytest.mark.parametrize("name", NAMES)
def test_a_method_is_a_function_of_what_it_needs_with_its_parameters_by_name(name):
    entry, parameters = registry.find("method", name), inspect.signature(getattr(methods, name)).parameters
    assert ("train_features" in parameters) == entry.learns
    assert ("classnames" in parameters) == ("text_tower" in entry.needs)
    assert set(entry.params) - {"views", "pseudo_ood"} < set(parameters)  # what is cached comes as arrays
    documented = getattr(methods, name).__doc__
    assert documented.startswith(entry.summary)
    assert all(f"    {each}: " in documented for each in set(parameters) - set(entry.params))


EYE, LABELS = np.eye(4), [0, 1, 2, 3]
COOP = {"classnames": ["a", "b", "c", "d"], "backbone": "tiny"}
NAN = np.where(EYE == 1, np.nan, EYE)


def unreadable():
    class Array:
        def __array__(self, *_, **__):
            raise RuntimeError("on a GPU\nof another process")

    return Array()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: methods.prototype(EYE[0], LABELS), "method prototype: train_features: shape (4,) where (M, D)"),
        (lambda: methods.prototype(EYE, LABELS[1:]), "train_labels: shape (3,) where (M,) with M = 4 is needed"),
        (lambda: methods.prototype(EYE, [0, 1, 3, 3]), "method prototype: class 2 has no training sample"),
        (lambda: methods.linear_probe(EYE, [0, 1, 3, 3]), "class 2 has no training sample"),
        (lambda: methods.lp_plus_plus(EYE, [0, 1, 3, 3], EYE), "class 2 has no training sample"),
        (lambda: methods.linear_probe(EYE, [0, 0, 0, 0]), "method linear_probe: one class only"),
        (lambda: methods.prototype(EYE, [-1] * 4), "method prototype: train_labels: no sample has a class, all are -1"),
        (lambda: methods.prototype(EYE, [0, 1, 2, 2**40]), "class 3 has no training sample"),
        (lambda: methods.prototype(EYE, ["a", "b", "c", "d"]), "method prototype: train_labels: type <U1"),
        (
            lambda: methods.prototype(EYE, [0, 1, 2, 0.5]),
            "method prototype: train_labels of shape (4,): 0.5 at index 3",
        ),
        (lambda: methods.prototype(EYE.astype(complex), LABELS), "method prototype: train_features: type complex128"),
        (lambda: methods.prototype(NAN, LABELS), "method prototype: train_features: 4 of 16 numbers are NaN"),
        (lambda: methods.prototype([[1, 2], [3]], [0, 1]), "method prototype: train_features: cannot be read"),
        (lambda: methods.prototype(EYE, LABELS, shots=0), "shots = 0: a whole number above 0 is needed"),
        (lambda: methods.prototype(EYE, LABELS, shots=EYE), "a whole number above 0 is needed"),
        (
            lambda: methods.prototype(EYE, LABELS, seed="x"),
            "method prototype: seed = 'x': a whole number from 0 on is needed",
        ),
        (lambda: methods.prototype(EYE, LABELS, seed=True), "seed = true: a whole number from 0 on is needed"),
        (
            lambda: methods.prototype(EYE),
            "method prototype: missing a required argument: 'train_labels'; its arguments are train",
        ),
        (lambda: methods.prototype(EYE, LABELS, EYE), "method prototype: too many positional arguments"),
        (lambda: methods.prototype(EYE, LABELS, epoch=3), "unknown argument of method prototype 'epoch'"),
        (
            lambda: methods.tip_adapter(EYE, LABELS, np.eye(4, 5)),
            "text_features: shape (4, 5) where (K, D) with D = 4 is needed, as of train_features",
        ),
        (lambda: methods.tip_adapter(EYE, LABELS, EYE[:3]), "3 at index 3 is no class: they are 0 to 2"),
        (lambda: methods.tip_adapter(EYE, LABELS, EYE, val_features=EYE), "val_features alone"),
        (
            lambda: methods.tip_adapter(EYE, LABELS, EYE, val_features=EYE, val_labels=[-1] * 4),
            "val_labels: no sample has a class",
        ),
        (lambda: methods.tip_adapter(EYE, LABELS, EYE, alpha=-1), "method tip_adapter: alpha = -1 does not fit"),
        (lambda: methods.zero_shot(None), "method zero_shot: text_features is None, and it is needed: Shape (K, D)"),
        (lambda: methods.zero_shot([[1, 2], [3]]), "method zero_shot: text_features: cannot be read as an array"),
        (lambda: methods.zero_shot(unreadable()), "method zero_shot: text_features: cannot be read as an array"),
        (lambda: methods.coop(EYE, LABELS, EYE, **{**COOP, "classnames": ["a"]}), "1 classname beside"),
        (lambda: methods.coop(EYE, LABELS, EYE, **{**COOP, "classnames": "abcd"}), "classnames is a list of names"),
        (lambda: methods.coop(EYE, LABELS, EYE, **{**COOP, "classnames": LABELS}), "classnames is a list of names"),
        (
            lambda: methods.coop(EYE, LABELS, EYE, **COOP),
            "text_features have 4 dimensions, and the texts of backbone tiny",
        ),
        (lambda: methods.coop(EYE, LABELS, EYE, **{**COOP, "backbone": 3}), "backbone is a name of the catalogue"),
        (lambda: methods.coop(EYE, LABELS, EYE, **{**COOP, "backbone": "tinny"}), "did you mean 'tiny'?"),
        (lambda: methods.fit("tipadapter"), "unknown method 'tipadapter': did you mean 'tip_adapter'?"),
        (lambda: methods.fit(["coop"]), "a method is given by its name"),
        (lambda: methods.zero_shot(EYE).logits(np.eye(5)), "features: shape (5, 5) where (N, D) with D = 4 is needed"),
        (lambda: methods.zero_shot(EYE).predict(NAN), "method zero_shot: features: 4 of 16 numbers are NaN"),
    ],
)
def test_a_mistake_is_one_line(call, message):
    assert message in failure(call)


def test_a_wrong_call_is_a_type_error_too():
    for call in (lambda: methods.tip_adapter(EYE, LABELS, EYE, aplha=1.0), lambda: scores.mcm(EYE, t=1.0)):
        with pytest.raises(TypeError, match="unknown argument of"):
            call()


@pytest.mark.parametrize("make", [np.float16, np.ndarray.tolist, pl.DataFrame, np.asfortranarray], ids=str)
def test_whatever_is_an_array_is_taken(make):
    features = np.eye(4) + 0.25
    expected = methods.tip_adapter(features, LABELS, EYE, alpha=1.0, beta=2.0).logits(features)
    fitted = methods.tip_adapter(make(features), np.array(LABELS, np.uint8), make(EYE), alpha=1.0, beta=2.0)
    np.testing.assert_array_equal(fitted.logits(make(features)), expected)


def test_samples_without_a_class_are_not_learned_from():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(8, 4)), np.array([0, 1, -1, 0, 1, 1, -1, 0])
    with_them, without = (
        methods.prototype(features, labels),
        methods.prototype(features[labels >= 0], labels[labels >= 0]),
    )
    np.testing.assert_array_equal(with_them.weights, without.weights)


def test_what_makes_no_logits_of_texts_is_not_compared_with_texts():
    probe = methods.prototype(EYE, LABELS)
    _, skipped = scores.all_scores(EYE, method=probe, labels=EYE, names=["eoe"])
    assert "are no cosines" in skipped["eoe"]
    found, _ = scores.all_scores(EYE, method=methods.zero_shot(EYE), labels=EYE, names=["eoe"])
    assert set(found) == {"eoe"}
