"""Banks that scores name for themselves: words, samples, what they equal, and what is said where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import foreseen, manifests, paths, registry, store
from oodgrid.config import parse
from oodgrid.errors import Mistakes, OodgridError
from oodgrid.foreseen import skipped
from oodgrid.registry.banks import DrawnBank, drawn_bank, with_bank
from oodgrid.score.run import score

TRAIN_SHOTS = 8  # of each class of `mini`
OF_CACHE = {"features", "logits", "head", "bank", "val", "val|bank"}
LABELLED = sorted(
    name for name, entry in registry.entries("score").items()
    if entry.uses_bank and set(entry.needs) <= OF_CACHE and not entry.label_lists and entry.plugin is None
)  # fmt: skip


def run(mini, method, scores, **experiment):
    """The table of a method, and why scores were skipped, over the fits."""
    told = mini.experiment(
        scores=["mcm", *scores], methods=("prototype",) if method == "any" else (method,), **experiment
    )
    score(mini.results, told, "mini", "pets", method)
    return manifests.read_table(paths.scores(mini.results, "mini", "mini", "pets", method), manifests.ScoreTable)


def zero_shot(mini, scores, **experiment):
    fit = mini.prototypes(shots=4, seed=2).fit.model_copy(update={"shots": 0, "seed": 0})
    mini.applied("zero_shot", "prototypes", [fit])
    return run(mini, "zero_shot", scores, **experiment)


# ------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("bank", "word"),
    [("shots", "shots"), ("train", "train"), (16, "16"), ("16", "16"), ("16-seed1", "16"), ("4-seed0", "4-seed0"),
     ("4-seed12", "4-seed12")],
)  # fmt: skip
def test_a_bank_has_one_word(bank, word):
    assert registry.check_params("score", "knn", {"bank": bank}) == {"bank": word}
    assert registry.check_params("score", "knn", {"bank": word}) == {"bank": word}


@pytest.mark.parametrize("bank", [0, -1, True, 1.5, None, "0", "all", "16-seed", "16-seed-1", "seed2", "016", "1e3",
                                  10_000_000])  # fmt: skip
def test_what_is_no_bank_is_one_line_before_anything_runs(mini, bank):
    with pytest.raises(Mistakes, match=r"score knn: bank = .*: shots, train, or a number of shots from 1 on, as 16"):
        mini.experiment(scores=["mcm", {"name": "knn", "bank": bank}])


def test_a_list_of_banks_is_a_score_for_each(mini):
    listed = mini.experiment(scores=["mcm", {"name": "knn", "bank": ["shots", 4, "4-seed2", "train"]}]).scores
    names = [each.listed("score") for each in listed]
    assert names == ["mcm", "knn", "knn@bank=4", "knn@bank=4-seed2", "knn@bank=train"]


def test_needs_of_a_named_draw():
    assert drawn_bank("16-seed3") == DrawnBank(16, 3) and drawn_bank("16") == DrawnBank(16, 1)
    assert drawn_bank("train") is drawn_bank("shots") is drawn_bank(None) is None
    assert with_bank("val|bank", {"bank": "4"}) == "val@4-seed1|bank@4-seed1"
    assert with_bank("val|bank", {"bank": "train"}) == with_bank("bank", {"bank": "train"}) == "train"
    assert with_bank("val|bank", {}) == "val|bank" and with_bank("logits", {"bank": "4"}) == "logits"
    entry = registry.find("score", "dpm")
    assert entry.needs_with({"bank": "4"}) == ["logits", "bank@4-seed1", "val@4-seed1|bank@4-seed1"]
    assert entry.sees_draw({}) and not entry.sees_draw({"bank": "4"}) and not entry.sees_draw({"bank": "train"})
    assert registry.find("score", "kl_matching").sees_draw({})


# ---------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("val", [False, True])
def test_what_a_few_shot_method_has_to_the_last_bit(mini, val):
    """A method that is given 4 shots by seed 2, and leaves the prototypes that zero-shot has."""
    if val:
        mini.features("pets", "val", np.repeat(np.arange(3), 5), seed=9)
    mini.applied("prototype", "prototypes", [mini.prototypes(shots=4, seed=2).fit])
    for method in ("prototype", "any"):
        few, about = run(mini, method, LABELLED, shots=(4,), seeds=(2,))
        named = [{"name": name, "bank": "4-seed2"} for name in LABELLED]
        own, about_own = zero_shot(mini, named) if method == "prototype" else run(mini, method, named)
        names = [name for name in LABELLED if name in few.columns]
        assert len(names) > 5
        for name in names:
            reason, other = (each.fits[0].skipped.get(column) for each, column in (
                (about, name), (about_own, f"{name}@bank=4-seed2")))  # fmt: skip
            assert reason == other
            assert few[name].equals(own[f"{name}@bank=4-seed2"], null_equal=True), name
            assert reason or few[name].null_count() == 0


def test_as_many_shots_as_there_are_is_the_whole_train_split(mini):
    names = [*LABELLED]
    banks = [{"name": name, "bank": [TRAIN_SHOTS, "train"]} for name in names]
    compared = 0
    for table, about in (zero_shot(mini, banks), run(mini, "any", banks)):
        for name in names:
            if (column := f"{name}@bank={TRAIN_SHOTS}") in table.columns and column not in about.fits[0].skipped:
                np.testing.assert_allclose(table[column], table[f"{name}@bank=train"], rtol=1e-6, err_msg=name)
                compared += 1
    assert compared >= len(names) - 2


def test_seeds_and_shots_are_other_samples_whatever_the_fit(mini):
    names = [{"name": "knn", "k": 1, "bank": [2, "2-seed2", 4]}]
    table, about = run(mini, "any", [*names, {"name": "knn", "k": 1}], shots=(2, 4), seeds=(1, 2))
    rows = {(shots, seed): part for (shots, seed), part in table.group_by("shots", "seed")}
    assert len(rows) == 4
    for column, fit in (("bank=2", (2, 1)), ("bank=2-seed2", (2, 2)), ("bank=4", (4, 1))):
        wanted = rows[fit].sort("dataset", "index")["knn@k=1"]
        for part in rows.values():
            assert part.sort("dataset", "index")[f"knn@k=1,{column}"].equals(wanted)
    assert not table["knn@k=1,bank=2"].equals(table["knn@k=1,bank=2-seed2"])
    assert about.params["knn@k=1,bank=2"] == {"k": 1, "bank": "2"}


def test_other_training_images_make_it_anew_and_nothing_else(mini, scored):
    scores = [{"name": "knn", "k": 1, "bank": 2}, {"name": "vim", "bank": 4}]
    first, _ = zero_shot(mini, scores)
    scored.clear()
    zero_shot(mini, scores)
    assert len(scored) == 0
    mini.features("pets", "train", np.repeat(np.arange(3), 8), seed=11)
    second, _ = zero_shot(mini, scores)
    assert second["mcm"].equals(first["mcm"]) and not second["vim@bank=4"].equals(first["vim@bank=4"])


# ---------------------------------------------------------------------------------------- where there are none


def test_no_draw_and_changed_features_are_skips_with_the_reason(mini):
    vim = {"name": "vim", "bank": 4}
    paths.features(mini.results, "mini", "pets", "train").unlink()
    _, about = zero_shot(mini, [vim, {"name": "react", "bank": 4}])
    assert about.fits[0].skipped["vim@bank=4"] == "it needs bank@4-seed1: pets has no training split"
    assert "pets has no training split" in about.fits[0].skipped["react@bank=4"]
    mini.features("pets", "train", np.repeat(np.arange(3), 8), seed=1)
    changed = {name: mini.kept(name, features=mini.read(name).image_features) for name in ("pets", "noise", "cars")}
    fit = mini.prototypes().fit.model_copy(update={"sets": changed})
    mini.applied("clip_adapter", "features", [fit])
    _, about = run(mini, "clip_adapter", [vim])
    assert "draws of the train split as cached, and the method changes it" in about.fits[0].skipped["vim@bank=4"]


def test_the_draws_of_an_import_are_what_there_is(mini):
    train = mini.read("pets", "train")
    fixed = store.Features(
        train.image_features, train.labels, train.paths, train.sha256, {}, np.repeat([2, 4], 12).astype(np.int32)
    )
    store.write_features(paths.features(mini.results, "mini", "pets", "train"), fixed)
    _, about = zero_shot(mini, [{"name": "vim", "bank": [4, 16]}])
    assert list(about.fits[0].skipped) == ["vim@bank=16"]
    assert "no draw of 16 shots (they hold: 2, 4)" in about.fits[0].skipped["vim@bank=16"]


def test_what_no_shots_are_needed_for_is_not_foreseen_as_skipped(mini):
    told = mini.experiment(scores=["mcm", {"name": "vim", "bank": ["shots", 4, "train"]}], methods=("zero_shot",))
    assert [each.scores for each in foreseen.skipped(told)] == [["vim"]]


def of_folders(tmp_path, bank, shots=(4,), seeds=(1,), **more):
    return parse(
        {
            "experiment": "banks", "backbones": [{"name": "tiny", "model": "ViT-B-32", "pretrained": "random"}],
            "id_datasets": [{"name": "own", "folder": str(tmp_path), "ood": {"far": ["noise"]}, **more}],
            "methods": ["zero_shot"], "shots": list(shots), "seeds": list(seeds),
            "scores": ["mcm", {"name": "knn", "bank": bank}],
        }
    )  # fmt: skip


SPLITS = {"split_folders": {"train": "train", "test": "test"}}


@pytest.mark.parametrize("bank", [4, "train"])
def test_a_bank_without_a_training_split_is_foreseen_to_be_skipped(tmp_path, bank):
    without = of_folders(tmp_path, bank, split_folders={"test": "test"})
    reasons = {each.reason for each in skipped(without) if f"knn@bank={bank}" in each.scores}
    assert reasons == {"they need the training split, and there is none"}
    assert not skipped(of_folders(tmp_path, bank, **SPLITS))


def test_of_what_is_encoded_for_draws_alone_the_named_one_is_among_them(tmp_path):
    drawn = {**SPLITS, "train": "drawn"}
    of_folders(tmp_path, "4", **drawn)
    of_folders(tmp_path, "2-seed3", shots=(4, 2), seeds=(1, 3), **drawn)
    for bank, how in (("2", "2 under shots and 1 under seeds"), ("4-seed2", "4 under shots and 2 under seeds")):
        with pytest.raises(OodgridError, match=f"bank: {bank} of score .* is none of the draws .*: write {how}"):
            of_folders(tmp_path, bank, **drawn)
