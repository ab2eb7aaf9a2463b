"""The rule *apply* on a miniature results folder: what it leaves of every set, and what it makes again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oodgrid import fewshot, manifests, paths, store
from oodgrid.adapt import apply as rule
from oodgrid.adapt.apply import apply
from oodgrid.adapt.contract import Classifier
from oodgrid.adapt.fit import fit
from oodgrid.errors import OodgridError
from oodgrid.score.run import score

SHORT = {
    "coop": {"name": "coop", "epochs": 2, "context_tokens": 2},
    "clip_adapter": {"name": "clip_adapter", "epochs": 3},
    "tip_adapter_f": {"name": "tip_adapter_f", "epochs": 2},
}


def both(mini, method, **experiment):
    """Fit and apply; return the two manifests."""
    made = mini.experiment(SHORT.get(method, method), **experiment)
    label = made.methods[0].listed("method")
    fitted = manifests.read(fit(mini.results, made, "mini", "pets", label), manifests.Fitted)
    path = apply(mini.results, made, "mini", "pets", label)
    assert path == paths.applied(mini.results, "mini", "mini", "pets", label)
    return fitted, manifests.read(path, manifests.Applied)


def arrays(mini, name):
    return store.read_arrays(mini.results / name)[0]


def unit_norm(values):
    values = np.asarray(values, dtype=np.float64)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


# ---------------------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("method", ["zero_shot", "prototype", "linear_probe", "coop"])
def test_methods_with_prototypes_leave_nothing_more(mini, method):
    _, manifest = both(mini, method)
    assert (manifest.method, manifest.leaves) == (method, "prototypes")
    [unit] = manifest.fits
    assert unit.files == [unit.classifier]
    left = arrays(mini, unit.classifier)
    assert left["prototypes"].shape == (4, 16)
    assert left["prototypes"].dtype == np.float32
    assert set(left) == ({"prototypes", "bias"} if method == "linear_probe" else {"prototypes"})
    assert list(mini.kept("apply")) == [unit.classifier]


@pytest.mark.parametrize(
    ("method", "text", "expected"),
    [
        ("zero_shot", "classnames", True),
        ("clip_adapter", "classnames", True),
        ("clip_adapter", "visual_prototypes", False),
        ("prototype", "classnames", False),
        ("linear_probe", "classnames", False),
        ("tip_adapter", "classnames", False),
    ],
)
def test_what_is_left_says_whether_logits_are_cosines_to_texts(mini, method, text, expected):
    _, manifest = both(mini, method, text=text)
    assert [unit.text_cosines for unit in manifest.fits] == [expected]


def test_a_probe_is_a_hundredth_of_its_own_logits(mini):
    fitted, manifest = both(mini, "linear_probe")
    learned = arrays(mini, fitted.fits[0].file)
    left = arrays(mini, manifest.fits[0].classifier)
    np.testing.assert_allclose(left["prototypes"], learned["weights"] / 100, rtol=1e-6)
    np.testing.assert_allclose(left["bias"], learned["bias"] / 100, rtol=1e-6)


def test_clip_adapter_leaves_changed_features_of_every_set_and_of_its_shots(mini):
    fitted, manifest = both(mini, "clip_adapter", shots=[4], seeds=[2], far=["cars", "noise"])
    assert manifest.leaves == "features"
    [unit] = manifest.fits
    weights = arrays(mini, fitted.fits[0].file)

    def changed(x):
        return 0.2 * np.maximum(np.maximum(x @ weights["first"].T, 0) @ weights["second"].T, 0) + 0.8 * x

    assert list(unit.sets) == ["pets", "cars", "noise"]
    for name, file in unit.sets.items():
        expected = changed(mini.read(name).image_features)
        np.testing.assert_allclose(arrays(mini, file)["features"], expected, rtol=1e-5, atol=1e-5)
    train = mini.read("pets", "train")
    rows = fewshot.draw(train.labels, mini.read("pets", "val").labels, 4, 2).train
    bank = arrays(mini, unit.bank)
    np.testing.assert_allclose(bank["features"], changed(train.image_features[rows]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(bank["labels"], train.labels[rows])


@pytest.mark.parametrize("method", ["tip_adapter", "tip_adapter_f"])
def test_tip_adapter_leaves_logits_of_every_set(mini, method):
    fitted, manifest = both(mini, method, shots=[4], seeds=[2])
    assert manifest.leaves == "logits"
    [unit] = manifest.fits
    assert unit.bank is None
    learned = arrays(mini, fitted.fits[0].file)
    beta, alpha = learned["beta_alpha"]
    for name, file in unit.sets.items():
        x = unit_norm(mini.read(name).image_features)
        affinity = np.exp(-beta * (1 - x @ learned["keys"].T)) @ np.eye(4)[learned["labels"]]
        logits = arrays(mini, file)["logits"]
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, x @ learned["prototypes"].T + alpha / 100 * affinity, atol=2e-6)


def test_batches_make_no_difference(mini, monkeypatch):
    _, whole = both(mini, "tip_adapter")
    expected = {name: arrays(mini, file)["logits"] for name, file in whole.fits[0].sets.items()}
    for file in mini.kept("apply"):
        (mini.results / file).unlink()
    monkeypatch.setattr(rule, "BATCH", 3)
    _, parts = both(mini, "tip_adapter")
    for name, file in parts.fits[0].sets.items():
        np.testing.assert_allclose(arrays(mini, file)["logits"], expected[name], rtol=0, atol=1e-6)


def test_fits_without_a_result_keep_their_reason(mini):
    draws = np.repeat([1, 2], [4, 36]).astype(np.int32)
    mini.features("pets", "train", np.tile(np.arange(4), 10), 1, draws=draws)
    _, manifest = both(mini, "prototype", shots=[1, 8], imported=True)
    assert [unit.status for unit in manifest.fits] == ["ok", "skipped"]
    assert manifest.fits[1].reason.startswith("the imported training features hold no draw of 8 shots")
    assert manifest.fits[1].files == []


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_results_that_are_not_finite_fail_one_fit_and_not_the_others(mini):
    fitted, _ = both(mini, "clip_adapter", seeds=[1, 2])
    for file in mini.kept("apply"):
        (mini.results / file).unlink()
    first = mini.results / fitted.fits[0].file
    learned, info = store.read_arrays(first)
    store.write_arrays(
        first, {**learned, "first": 1e30 + 0 * learned["first"], "second": 1e30 + learned["second"]}, info
    )
    _, manifest = both(mini, "clip_adapter", seeds=[1, 2])
    one, two = manifest.fits
    reason = "the features of the fitted method are not finite"
    assert one == manifests.AppliedFit(shots=2, seed=1, status="failed", reason=reason)
    assert two.status == "ok"


# ------------------------------------------------------------------------------------------------ second calls


@pytest.mark.parametrize("method", ["zero_shot", "clip_adapter", "tip_adapter"])
def test_a_second_call_makes_nothing(mini, method):
    first = both(mini, method)
    fits, applied = mini.kept("fit"), mini.kept("apply")
    assert both(mini, method) == first
    assert (mini.kept("fit"), mini.kept("apply")) == (fits, applied)


@pytest.mark.parametrize("method", ["clip_adapter", "tip_adapter"])
def test_a_new_ood_set_is_all_that_is_made(mini, method):
    both(mini, method, seeds=[1, 2])
    fits, before = mini.kept("fit"), mini.kept("apply")
    _, manifest = both(mini, method, seeds=[1, 2], far=["cars", "noise"])
    after = mini.kept("apply")
    assert mini.kept("fit") == fits
    assert {file: after[file] for file in before} == before
    assert set(after) - set(before) == {unit.sets["noise"] for unit in manifest.fits}


def test_a_new_seed_is_all_that_is_made(mini):
    _, first = both(mini, "tip_adapter")
    before = mini.kept("apply")
    _, second = both(mini, "tip_adapter", seeds=[1, 2])
    after = mini.kept("apply")
    assert second.fits[0] == first.fits[0]
    assert {file: after[file] for file in before} == before
    assert len(after) == 2 * len(before)


def test_other_test_features_under_the_same_name_are_applied_to_anew(mini):
    _, first = both(mini, "tip_adapter")
    mini.features("cars", "test", np.tile([0, 1], 4), 77, spread=2)
    _, second = both(mini, "tip_adapter")
    one, two = first.fits[0].sets, second.fits[0].sets
    assert one["pets"] == two["pets"]
    assert one["cars"] != two["cars"]


# --------------------------------------------------------------------------------------------------- mistakes


def test_a_missing_test_file_is_named(mini):
    path = paths.features(mini.results, "mini", "cars", "test")
    path.unlink()
    with pytest.raises(OodgridError, match=f"^{path} is missing: [^\n]+$"):
        both(mini, "tip_adapter")


def test_a_missing_fit_manifest_is_named(mini):
    with pytest.raises(OodgridError, match=r"fit\.json"):
        apply(mini.results, mini.experiment("prototype"), "mini", "pets", "prototype")


def test_a_kept_fit_that_is_damaged_is_named_in_one_line(mini):
    experiment = mini.experiment("prototype")
    fitted = manifests.read(fit(mini.results, experiment, "mini", "pets", "prototype"), manifests.Fitted)
    file = mini.results / fitted.fits[0].file
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(OodgridError, match=f"^{file} is damaged: [^\n]+$"):
        apply(mini.results, experiment, "mini", "pets", "prototype")


@pytest.mark.parametrize("method", ["clip_adapter", "tip_adapter"])
def test_an_ood_set_of_another_width(mini, method):
    mini.features("cars", "test", np.tile([0, 1], 4), 4, width=12)
    with pytest.raises(
        OodgridError, match=r"^cars has features of 12 dimensions but the prototypes have 16: .*under one$"
    ):
        both(mini, method)


# ------------------------------------------------------------------------------------- selection and calibration

CALIBRATED = ["mcm", "kl_matching", "react", "knn", {"name": "knn", "bank": "train"}]
OF_EVERY_KIND = [
    {"name": "prototype"},
    {"name": "clip_adapter", "epochs": 2},
    {"name": "tip_adapter", "alpha": 2.0, "beta": 3.0},
    {"name": "lp_plus_plus", "epochs": 5},
]


def scored(mini, choice, **id_dataset):
    """Return what a method leaves and the table of its scores, from fit to score."""
    experiment = mini.experiment(choice, shots=[4], scores=CALIBRATED, **id_dataset)
    name = experiment.methods[0].listed("method")
    fit(mini.results, experiment, "mini", "pets", name)
    applied = manifests.read(apply(mini.results, experiment, "mini", "pets", name), manifests.Applied).fits[0]
    files = {need: getattr(applied, need) for need in ("bank", "val")}
    left = {need: store.read_arrays(mini.results / file)[0] for need, file in files.items() if file}
    return left, store.read_table(score(mini.results, experiment, "mini", "pets", name))[0]


@pytest.mark.parametrize("choice", OF_EVERY_KIND, ids=lambda choice: choice["name"])
@pytest.mark.parametrize("val", [True, False])
def test_the_leaky_option_changes_what_fits_select_on_and_nothing_that_calibrates(mini, choice, val):
    """Of methods that select nothing every number stays; no bank and no validation set of a score holds a test row."""
    if not val:
        paths.features(mini.results, "mini", "pets", "val").unlink()
    source = {} if val else {"imported": True}
    (honest, table), (leaky, leaky_table) = (
        scored(mini, choice, **source, **option) for option in ({}, {"leaky_selection_on_test": True})
    )
    for left in (honest, leaky):
        for need, arrays in left.items():
            assert {len(values) for values in arrays.values()} == {16}, need
    assert {need: arrays["labels"].tolist() for need, arrays in honest.items()} == {
        need: arrays["labels"].tolist() for need, arrays in leaky.items()
    }
    if choice["name"] != "lp_plus_plus":
        assert table.equals(leaky_table)


def test_unlabelled_images_change_nothing_that_is_learned_or_calibrated(mini):
    """Label -1 in train, val and test: fits and scores of the others are what they are without such images."""
    _, before = scored(mini, OF_EVERY_KIND[1])
    for split in ("train", "val"):
        had = mini.read("pets", split)
        more = {
            "image_features": np.concatenate([had.image_features, 9 + had.image_features[:7]]),
            "labels": np.concatenate([had.labels, np.full(7, -1)]),
            "paths": [*had.paths, *(f"none/{row}" for row in range(7))],
            "sha256": np.concatenate([had.sha256, had.sha256[:7]]),
        }
        store.write_features(paths.features(mini.results, "mini", "pets", split), replace(had, **more))
    _, after = scored(mini, OF_EVERY_KIND[1])
    assert before.equals(after)


@pytest.mark.parametrize("leaves", ["features", "logits"])
def test_a_classifier_without_what_its_method_declares_is_refused(leaves):
    with pytest.raises(OodgridError, match=f"registered as one that leaves {leaves}, but its classifier has none"):
        rule.applied(Classifier(np.eye(3, dtype=np.float32)), leaves, np.eye(3, dtype=np.float32))
