"""The rule *fit* on a miniature results folder: its manifest, what it skips, what it keeps, and what it never reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oodgrid import fewshot, manifests, paths, plan, registry, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.contract import Learned
from oodgrid.adapt.data import FitFiles
from oodgrid.adapt.fit import fit
from oodgrid.errors import OodgridError
from oodgrid.grid import Fit

SHORT_COOP = {"name": "coop", "epochs": 2, "context_tokens": 2}


def run(mini, experiment, method):
    path = fit(mini.results, experiment, "mini", "pets", method)
    assert path == paths.fitted(mini.results, "mini", "mini", "pets", method)
    return manifests.read(path, manifests.Fitted)


def unit_norm(values):
    values = np.asarray(values, dtype=np.float64)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


# ---------------------------------------------------------------------------------------------- what is written


def test_manifest_of_a_method_that_learns(mini):
    choice = {"name": "linear_probe", "C": 25.0}
    manifest = run(mini, mini.experiment(choice, shots=[1, 4], seeds=[1, 2]), "linear_probe@C=25")
    assert manifest.method == "linear_probe"
    assert manifest.params == {"C": 25.0}
    assert [(record.shots, record.seed) for record in manifest.fits] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    for record in manifest.fits:
        assert (record.status, record.reason, record.info["C"]) == ("ok", None, 25.0)
        assert record.file in mini.kept("fit")
    assert len({record.file for record in manifest.fits}) == 4


def test_what_is_kept_is_what_the_method_learns_from_the_draw(mini):
    [record] = run(mini, mini.experiment("prototype", shots=[4], seeds=[3]), "prototype").fits
    train = mini.read("pets", "train")
    rows = fewshot.draw(train.labels, mini.read("pets", "val").labels, 4, 3).train
    features, labels = unit_norm(train.image_features[rows]), train.labels[rows]
    expected = unit_norm([features[labels == c].mean(axis=0) for c in range(4)])
    learned, info = store.read_arrays(mini.results / record.file)
    np.testing.assert_allclose(learned["prototypes"], expected, atol=1e-6)
    assert info == record.info == {}


def test_zero_shot_has_one_fit_without_shots_and_its_prototypes_average_the_templates(mini):
    manifest = run(mini, mini.experiment("zero_shot", shots=[1, 2], seeds=[1, 2]), "zero_shot")
    [record] = manifest.fits
    assert (record.shots, record.seed, record.status) == (0, 0, "ok")
    texts = store.read_texts(paths.texts(mini.results, "mini", "pets")).text_features
    expected = unit_norm(unit_norm(texts).mean(axis=0))
    learned, _ = store.read_arrays(mini.results / record.file)
    np.testing.assert_allclose(learned["prototypes"], expected, atol=1e-6)


def test_visual_prototypes_stand_in_for_texts(mini):
    experiment = mini.experiment("tip_adapter", shots=[2], text="visual_prototypes")
    [record] = run(mini, experiment, "tip_adapter").fits
    [means] = run(mini, mini.experiment("prototype", shots=[2]), "prototype").fits
    learned, expected = (store.read_arrays(mini.results / r.file)[0]["prototypes"] for r in (record, means))
    np.testing.assert_array_equal(learned, expected)


@pytest.mark.parametrize("method", ["prototype", "linear_probe", "tip_adapter", "tip_adapter_f"])
def test_methods_see_the_shots_and_the_validation_rows_of_the_draw(mini, method, monkeypatch):
    seen = []
    made = registry.find("method", method).make
    monkeypatch.setattr(made, "fit", lambda self, data, original=made.fit: seen.append(data) or original(self, data))
    run(mini, mini.experiment(method, shots=[8], seeds=[2]), method)
    train, val = mini.read("pets", "train"), mini.read("pets", "val")
    drawn = fewshot.draw(train.labels, val.labels, 8, 2)
    [data] = seen
    np.testing.assert_array_equal(data.train, train.image_features[drawn.train])
    np.testing.assert_array_equal(data.train_labels, train.labels[drawn.train])
    np.testing.assert_array_equal(data.val, val.image_features[drawn.val])
    np.testing.assert_array_equal(data.val_labels, val.labels[drawn.val])
    assert (data.classes, data.shots, data.seed, len(data.val)) == (4, 8, 2, 16)


# ------------------------------------------------------------------------------------------------------- skips


def skipped(mini, experiment, method):
    [record] = run(mini, experiment, method).fits
    assert record.status == "skipped"
    assert record.file is None
    return record.reason


@pytest.mark.parametrize("method", ["zero_shot", "coop", "clip_adapter", "tip_adapter", "tip_adapter_f"])
def test_an_import_without_texts(mini, method):
    paths.texts(mini.results, "mini", "pets").unlink()
    reason = skipped(mini, mini.experiment(method, imported=True), method)
    expected = {
        "zero_shot": "there are no text features of pets",
        "coop": "there are no text features of pets",
    }.get(method, "there are neither text features of pets nor text: visual_prototypes")
    assert reason == expected
    assert mini.kept("fit") == {}


@pytest.mark.parametrize("method", ["zero_shot", "coop"])
def test_methods_of_text_where_visual_prototypes_stand_in(mini, method):
    reason = skipped(mini, mini.experiment(method, text="visual_prototypes"), method)
    assert reason == ("there are no text features of pets: visual prototypes stand in place of text (method prototype)")


def test_coop_on_an_import_has_no_text_tower(mini):
    reason = skipped(mini, mini.experiment("coop", imported=True), "coop")
    assert reason == "the features of pets are imported: no text tower stands behind them"


@pytest.mark.parametrize("method", ["prototype", "linear_probe", "tip_adapter"])
def test_an_import_without_a_training_split(mini, method):
    paths.features(mini.results, "mini", "pets", "train").unlink()
    assert skipped(mini, mini.experiment(method, imported=True), method) == "pets has no training split"
    [zero_shot] = run(mini, mini.experiment("zero_shot", imported=True), "zero_shot").fits
    assert zero_shot.status == "ok"


def test_an_import_with_fixed_draws(mini):
    draws = np.repeat([1, 2], [4, 36]).astype(np.int32)
    mini.features("pets", "train", np.tile(np.arange(4), 10), 1, draws=draws)
    manifest = run(mini, mini.experiment("prototype", shots=[1, 8], imported=True), "prototype")
    one, eight = manifest.fits
    expected = unit_norm(mini.read("pets", "train").image_features[:4])
    learned, _ = store.read_arrays(mini.results / one.file)
    np.testing.assert_allclose(learned["prototypes"], expected, atol=1e-6)
    assert eight.status == "skipped"
    assert "no draw of 8 shots (they hold: 1, 2)" in eight.reason


def test_a_class_that_has_no_image_at_all(mini):
    mini.features("pets", "train", np.tile([0, 1, 3], 9), 1)
    for method in ("prototype", "linear_probe", "lp_plus_plus", "clap"):
        assert skipped(mini, mini.experiment(method), method) == "class 2 has no training sample"


# ---------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("choice", [
    {"name": "clip_adapter", "lr": 1e30, "epochs": 5},
    {"name": "tip_adapter_f", "lr": 1e30, "epochs": 5},
    {"name": "coop", "lr": 1e30, "epochs": 5, "context_tokens": 2},
])  # fmt: skip
def test_a_training_that_explodes_is_a_failure_with_a_reason(mini, choice):
    experiment = mini.experiment(choice, "prototype")
    method = experiment.methods[0].listed("method")
    [record] = run(mini, experiment, method).fits
    assert record.status == "failed"
    assert "the loss became" in record.reason
    assert record.file is None
    assert mini.kept("fit") == {}


def test_parameters_that_are_not_finite_after_the_last_step_are_a_failure_too(mini, monkeypatch):
    """The loss is looked at before a step: after the last one only what was learned can tell."""
    broken = Learned({"prototypes": np.full((4, 16), np.nan, np.float32)})
    monkeypatch.setattr(registry.find("method", "prototype").make, "fit", lambda self, data: broken)
    [record] = run(mini, mini.experiment("prototype"), "prototype").fits
    assert (record.status, record.file) == ("failed", None)
    assert record.reason == "the prototypes that training left are not finite"
    assert mini.kept("fit") == {}


# ------------------------------------------------------------------------------------------------ second calls


def test_a_second_call_fits_nothing_and_says_the_same(mini):
    experiment = mini.experiment("linear_probe", shots=[1, 2])
    first = run(mini, experiment, "linear_probe")
    before = mini.kept("fit")
    assert run(mini, experiment, "linear_probe") == first
    assert mini.kept("fit") == before
    assert len(before) == 2


def test_a_new_seed_or_shot_count_fits_only_the_new_ones(mini):
    first = run(mini, mini.experiment("linear_probe", shots=[2], seeds=[1]), "linear_probe").fits
    before = mini.kept("fit")
    second = run(mini, mini.experiment("linear_probe", shots=[2, 4], seeds=[1, 2]), "linear_probe").fits
    after = mini.kept("fit")
    assert len(after) == 4
    assert {file: after[file] for file in before} == before
    assert second[0] == first[0]


def test_a_new_ood_set_refits_nothing(mini):
    first = run(mini, mini.experiment("linear_probe"), "linear_probe")
    before = mini.kept("fit")
    assert run(mini, mini.experiment("linear_probe", far=["cars", "noise"]), "linear_probe") == first
    assert mini.kept("fit") == before


def test_another_parameter_is_another_fit(mini):
    files = set()
    for C in (None, 25.0, 250.0):
        choice = "linear_probe" if C is None else {"name": "linear_probe", "C": C}
        experiment = mini.experiment(choice)
        [record] = run(mini, experiment, experiment.methods[0].listed("method")).fits
        files.add(record.file)
    assert len(files) == 3


def test_a_default_written_out_is_the_same_fit(mini):
    [one] = run(mini, mini.experiment("tip_adapter_f"), "tip_adapter_f").fits
    [two] = run(mini, mini.experiment({"name": "tip_adapter_f", "epochs": 20}), "tip_adapter_f").fits
    assert one.file == two.file


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_features_under_the_same_name_are_another_fit(mini, split):
    [one] = run(mini, mini.experiment("linear_probe"), "linear_probe").fits
    mini.features("pets", split, np.tile(np.arange(4), 10), 99)
    [two] = run(mini, mini.experiment("linear_probe"), "linear_probe").fits
    assert one.file != two.file


def test_other_texts_are_another_fit(mini):
    [one] = run(mini, mini.experiment("tip_adapter"), "tip_adapter").fits
    mini.texts(np.random.default_rng(3).normal(size=(1, 4, 16)).astype(np.float32))
    [two] = run(mini, mini.experiment("tip_adapter"), "tip_adapter").fits
    [stood_in] = run(mini, mini.experiment("tip_adapter", text="visual_prototypes"), "tip_adapter").fits
    assert len({one.file, two.file, stood_in.file}) == 3


def test_a_fit_on_visual_prototypes_is_not_taken_where_texts_are_wanted_and_missing(mini):
    paths.texts(mini.results, "mini", "pets").unlink()
    stood_in = mini.experiment("tip_adapter", imported=True, text="visual_prototypes")
    assert run(mini, stood_in, "tip_adapter").fits[0].status == "ok"
    assert "neither text features" in skipped(mini, mini.experiment("tip_adapter", imported=True), "tip_adapter")


def test_the_backbone_is_part_of_a_fit_that_needs_its_text_tower_only(mini):
    files = {}
    for interpolation in ("bicubic", "bilinear"):
        mini.backbone = {**mini.backbone, "interpolation": interpolation}
        for choice in (SHORT_COOP, "prototype"):
            experiment = mini.experiment(choice)
            method = experiment.methods[0].listed("method")
            files[interpolation, method[:4]] = run(mini, experiment, method).fits[0].file
    assert files["bicubic", "coop"] != files["bilinear", "coop"]
    assert files["bicubic", "prot"] == files["bilinear", "prot"]


# ----------------------------------------------------------------------------------------- what is never opened


@pytest.mark.parametrize("method", sorted(set(registry.entries("method")) - {"own_head"}))  # it has no shots
@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_a_fit_never_opens_a_test_file(mini, method, damage):
    """Whatever is registered: the same fit, to the bit, where test files are gone or no HDF5 files."""
    train = mini.read("pets", "train")
    local = np.random.default_rng(0).normal(size=(40, 3, 16)).astype(np.float16)
    train = replace(train, local_features=local)
    is_of_pairs = "pairs" in registry.find("method", method).needs
    if is_of_pairs:
        train = replace(train, text_features=train.image_features[::-1])
        store.write_features(paths.features(mini.results, "mini", "cars", "train"), train)
    store.write_features(paths.features(mini.results, "mini", "pets", "train"), train)
    # pseudo-OOD texts are made of texts, and these features are imported: tests/encode/test_pseudo_ood.py has those
    short = {"epochs": 1, "negative_epochs": 1, "context_tokens": 2, "pseudo_ood": None}
    params = {name: value for name, value in short.items() if name in registry.find("method", method).params}
    imported = {"ood": {"far": [{"name": "cars", "imported": {}}]}} if is_of_pairs else {}
    parts = registry.find("method", method).params.get("of", ())
    experiment = mini.experiment(*parts, {"name": method, **params}, **imported)
    label = experiment.methods[-1].listed("method")
    whole = [run(mini, experiment, each) for each in (*parts, label)][-1]
    assert whole.fits[0].status == "ok"
    before = {file: (mini.results / file).read_bytes() for file in mini.kept("fit")}
    for file in before:
        (mini.results / file).unlink()
    for name in ("pets", "cars"):
        path = paths.features(mini.results, "mini", name, "test")
        path.unlink() if damage == "missing" else path.write_bytes(b"no HDF5 file")
    assert [run(mini, experiment, each) for each in (*parts, label)][-1] == whole
    assert {file: (mini.results / file).read_bytes() for file in mini.kept("fit")} == before


def test_only_an_option_named_leaky_lets_selection_see_the_test_set(mini):
    """The whole test split then stands in for validation, and nothing else changes."""
    honest = run(mini, mini.experiment("lp_plus_plus"), "lp_plus_plus").fits[0]
    leaky = run(mini, mini.experiment("lp_plus_plus", leaky_selection_on_test=True), "lp_plus_plus").fits[0]
    assert (honest.info["val_labels_used"], leaky.info["val_labels_used"]) == (8, 20)
    assert honest.info["losses"] == leaky.info["losses"]
    files = [path.name for path in plan.fit_input(mini.results, mini.experiment("coop"), "mini", "pets")]
    assert files == ["train.h5", "val.h5", "pets.h5"]
    experiment = mini.experiment("coop", leaky_selection_on_test=True)
    files = [path.name for path in plan.fit_input(mini.results, experiment, "mini", "pets")]
    assert files == ["train.h5", "val.h5", "test.h5", "pets.h5"]


def test_remarks_of_draws_and_of_searches_are_the_reason_of_a_fit_that_worked(mini):
    """From there they come into metrics and tables: a train split of 10 images a class, a range that ends too early."""
    choice = {"name": "tip_adapter", "alpha_to": 0.2, "beta": 1.0}
    experiment = mini.experiment(choice, shots=[4, 10, 12], seeds=[1, 2])
    fits = run(mini, experiment, experiment.methods[0].listed("method")).fits
    said = {shots: {record.reason for record in fits if record.shots == shots} for shots in (4, 10, 12)}
    alike = "all seeds draw the same shots: no class has more than {} training samples"
    assert not any("all seeds" in (reason or "") for reason in said[4])
    assert all(alike.format(10) in reason for reason in said[10])
    assert all("4 of 4 classes have fewer than 12 training samples" in reason for reason in said[12])
    for record in fits:
        assert record.status == "ok"
        for remark in record.info.get("remarks", []):
            assert "alpha is at the" in remark
            assert remark in record.reason
    assert any("remarks" in record.info for record in fits)


def test_validation_comes_from_the_train_split_where_there_is_no_other(mini):
    imported = mini.experiment("lp_plus_plus", imported=True)
    paths.features(mini.results, "mini", "pets", "val").unlink()
    info = run(mini, imported, "lp_plus_plus").fits[0].info
    assert info["val_labels_used"] == 8
    draw = FitFiles(mini.results, imported.backbones[0], imported.id_datasets[0]).draw(2, 1)
    assert draw.val.split == draw.bank.split == "train"
    assert not set(draw.val.rows) & set(draw.bank.rows)


# ------------------------------------------------------------------------------------------- local features


def test_local_features_of_the_shots_reach_the_method(mini):
    rows = np.random.default_rng(0).normal(size=(40, 3, 16)).astype(np.float16)
    path = paths.features(mini.results, "mini", "pets", "train")
    store.write_features(path, replace(mini.read("pets", "train"), local_features=rows))
    experiment = mini.experiment("locoop")
    files = FitFiles(mini.results, experiment.backbones[0], experiment.id_datasets[0], local=True)
    got = files.data(Fit("locoop", 2, 1)).train_local
    assert got.shape == (8, 1, 3, 16)
    np.testing.assert_array_equal(got[:, 0], rows[files.draw(2, 1).bank.rows])
    params = {"epochs": 2, "context_tokens": 2}
    experiment = mini.experiment({"name": "locoop", **params})
    record = run(mini, experiment, experiment.methods[0].listed("method")).fits[0]
    assert record.status == "ok"


def test_without_local_features_a_method_that_needs_them_says_what_to_write(mini):
    record = run(mini, mini.experiment("sct"), "sct").fits[0]
    assert record.status == "skipped"
    assert record.reason == "mini gives no local features of pets: write local_features: true for the backbone"


# --------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: b"", lambda data: b"\xff" * 200])
def test_a_kept_fit_that_is_damaged_or_gone_comes_back(mini, damage):
    experiment = mini.experiment("linear_probe")
    whole = run(mini, experiment, "linear_probe")
    file = mini.results / whole.fits[0].file
    data = file.read_bytes()
    file.write_bytes(damage(data))
    assert run(mini, experiment, "linear_probe") == whole
    assert file.read_bytes() == data
    file.unlink()
    assert run(mini, experiment, "linear_probe") == whole
    assert file.read_bytes() == data


@pytest.mark.parametrize(("part", "split"), [("train", "train"), ("val", "val")])
def test_a_split_that_encoding_should_have_made_is_missed(mini, part, split):
    path = paths.features(mini.results, "mini", "pets", split)
    path.unlink()
    with pytest.raises(OodgridError, match=f"^{path} is missing: "):
        run(mini, mini.experiment("prototype"), "prototype")


def test_texts_that_encoding_should_have_made_are_missed(mini):
    path = paths.texts(mini.results, "mini", "pets")
    path.unlink()
    with pytest.raises(OodgridError, match=f"^{path} is missing: "):
        run(mini, mini.experiment("zero_shot"), "zero_shot")


@pytest.mark.parametrize("method", ["zero_shot", "tip_adapter", "clip_adapter"])
def test_shots_and_texts_of_different_widths(mini, method):
    mini.texts(np.random.default_rng(3).normal(size=(1, 4, 12)).astype(np.float32))
    with pytest.raises(OodgridError, match=r"features of pets differ in dimensions \(train 16, val 16, text 12\)"):
        run(mini, mini.experiment(method), method)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("wrong", [4, -2])
def test_a_label_that_is_no_class_is_named_by_file_and_row(mini, split, wrong):
    labels = np.tile(np.arange(4), 10)
    labels[7] = wrong
    path = mini.features("pets", split, labels, 1)
    said = f"{split}.h5: row 7 has label {wrong}, which is none of the 4 classes 0 to 3"
    with pytest.raises(OodgridError, match=said) as error:
        run(mini, mini.experiment("prototype"), "prototype")
    assert str(path) in str(error.value)


def test_one_class_only(mini):
    for split in ("train", "val"):
        mini.features("pets", split, np.zeros(8, dtype=int), 1)
    mini.texts(np.ones((1, 1, 16), np.float32), names=["fox"])
    assert run(mini, mini.experiment("prototype"), "prototype").fits[0].status == "ok"
    [left] = run(mini, mini.experiment("linear_probe"), "linear_probe").fits
    assert (left.status, left.reason) == ("skipped", "pets has one class: there are no classes to tell apart")


def test_two_classes_go_through_every_method(mini):
    mini.features("pets", "train", np.tile([0, 1], 10), 1)
    mini.features("pets", "val", np.tile([0, 1], 6), 2)
    mini.texts(np.random.default_rng(3).normal(size=(1, 2, 16)).astype(np.float32), names=["fox", "owl"])
    methods = ["zero_shot", "prototype", "linear_probe", "tip_adapter", "tip_adapter_f"]
    methods += [SHORT_COOP, {"name": "clip_adapter", "epochs": 2}]
    experiment = mini.experiment(*methods, shots=[1])
    for choice in experiment.methods:
        fits = run(mini, experiment, choice.listed("method")).fits
        assert {record.status for record in fits} == {"ok"}


# --------------------------------------------------------------------------------------------------- FitFiles


def test_visual_prototypes_are_of_the_shots_of_the_same_draw(mini):
    experiment = mini.experiment("tip_adapter", text="visual_prototypes")
    files = FitFiles(mini.results, experiment.backbone("mini"), experiment.id_dataset("pets"))
    one, two = (files.data(Fit("tip_adapter", 1, seed)) for seed in (1, 2))
    np.testing.assert_allclose(one.text.prototypes, unit_norm(one.train), atol=1e-6)
    assert not np.allclose(one.text.prototypes, two.text.prototypes)
    assert not one.text.classnames


def test_lost_norms_are_passed_on(mini):
    mini.features("pets", "train", np.tile(np.arange(4), 10), 1, normalised=True)
    experiment = mini.experiment("clip_adapter")
    files = FitFiles(mini.results, experiment.backbone("mini"), experiment.id_dataset("pets"))
    assert files.data(Fit("clip_adapter", 1, 1)).normalised is True


def test_what_fit_leaves_is_enough_for_apply_without_any_training_file(mini):
    """The manifest names fits relative to the results folder, which may move."""
    experiment = mini.experiment("prototype")
    run(mini, experiment, "prototype")
    moved = mini.results.rename(mini.results.with_name("elsewhere"))
    assert apply(moved, experiment, "mini", "pets", "prototype").is_file()
