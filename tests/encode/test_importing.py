from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from oodgrid import paths, store
from oodgrid.config import load, parse
from oodgrid.encode.importing import import_arrays, import_experiment, import_text, import_tip_adapter
from oodgrid.errors import OodgridError
from tests.failing import failure

torch = pytest.importorskip("torch")

CLASSES, D = 3, 8


def unit(n, seed):
    """Rows of unit norm, float16, as Tip-Adapter's caches hold them."""
    rows = torch.randn(n, D, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1).half()


@pytest.fixture
def cache(tmp_path):
    """A cache in Tip-Adapter's format: test, val, keys of 1, 2 and 4 shots."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for seed, (name, count) in enumerate((("test", 7), ("val", 5))):
        torch.save(unit(count, seed), folder / f"{name}_f.pt")
        torch.save(torch.arange(count) % CLASSES, folder / f"{name}_l.pt")
    for shots in (1, 2, 4):
        labels = torch.arange(CLASSES).repeat_interleave(shots)
        torch.save(unit(CLASSES * shots, 10 + shots).T.contiguous(), folder / f"keys_{shots}shots.pt")
        torch.save(torch.nn.functional.one_hot(labels, CLASSES).half(), folder / f"values_{shots}shots.pt")
    return folder


def tip(tmp_path, cache, *arguments):
    return import_tip_adapter(tmp_path / "results", "b", "d", cache, *arguments)


def read(tmp_path, split):
    return store.read_features(paths.features(tmp_path / "results", "b", "d", split))


def splits(tmp_path):
    return sorted(path.stem for path in (tmp_path / "results/features/b/d").iterdir())


# ------------------------------------------------------------------------------------------ Tip-Adapter caches


def test_a_cache_becomes_three_splits(tmp_path, cache):
    written = tip(tmp_path, cache)
    assert sorted(path.stem for path in written) == splits(tmp_path) == ["test", "train", "val"]
    test = read(tmp_path, "test")
    np.testing.assert_array_equal(test.image_features, unit(7, 0).float().numpy())
    assert test.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert test.paths[6] == "d/test/6"
    assert not test.sha256.any()
    assert read(tmp_path, "val").labels.tolist() == [0, 1, 2, 0, 1]


def test_keys_become_fixed_draws(tmp_path, cache):
    tip(tmp_path, cache)
    train = read(tmp_path, "train")
    assert train.draws.tolist() == [1] * 3 + [2] * 6 + [4] * 12
    for shots in (1, 2, 4):
        drawn = train.draws == shots
        assert train.labels[drawn].tolist() == [label for label in range(CLASSES) for _ in range(shots)]
        keys = unit(CLASSES * shots, 10 + shots).float().numpy()
        np.testing.assert_array_equal(train.image_features[drawn], keys)
    assert train.provenance["fixed_draw"]
    assert read(tmp_path, "val").draws is None


def test_the_values_and_not_the_order_say_the_class(tmp_path, cache):
    one_hot = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]]).half()
    torch.save(one_hot, cache / "values_1shots.pt")
    tip(tmp_path, cache)
    assert read(tmp_path, "train").labels[:3].tolist() == [2, 0, 1]


def test_without_values_keys_are_class_by_class(tmp_path, cache):
    tip(tmp_path, cache)
    with_values = read(tmp_path, "train")
    for file in cache.glob("values_*"):
        file.unlink()
    tip(tmp_path, cache)
    np.testing.assert_array_equal(read(tmp_path, "train").labels, with_values.labels)


def test_an_import_says_what_it_has_lost(tmp_path, cache):
    tip(tmp_path, cache)
    provenance = read(tmp_path, "test").provenance
    assert provenance["normalised"] is True
    assert provenance["backbone"] == {"name": "b"}
    assert provenance["imported"] == {"format": "tip-adapter", "test": "test"}
    torch.save(3 * unit(7, 0).float(), cache / "test_f.pt")
    tip(tmp_path, cache)
    assert not read(tmp_path, "test").normalised


def test_one_row_of_another_norm_is_enough(tmp_path, cache):
    rows = unit(7, 0).float()
    rows[3] *= 1.1
    torch.save(rows, cache / "test_f.pt")
    tip(tmp_path, cache)
    assert not read(tmp_path, "test").normalised


def test_val_can_stand_in_for_test(tmp_path, cache):
    tip(tmp_path, cache, "val")
    assert splits(tmp_path) == ["test", "train"]
    np.testing.assert_array_equal(read(tmp_path, "test").image_features, unit(5, 1).float().numpy())
    assert read(tmp_path, "test").provenance["imported"]["test"] == "val"


def test_keys_can_stand_in_for_test_and_then_nothing_trains_on_them(tmp_path, cache):
    tip(tmp_path, cache, "keys_4shots")
    assert splits(tmp_path) == ["test", "val"]
    assert len(read(tmp_path, "test").labels) == 12


@pytest.mark.parametrize(("test", "left"), [("val", ["test", "train"]), ("keys_4shots", ["test", "val"])])
def test_a_later_import_leaves_no_split_that_overlaps_its_test(tmp_path, cache, test, left):
    tip(tmp_path, cache)
    tip(tmp_path, cache, test)
    assert splits(tmp_path) == left


def test_a_missing_test_split_lists_what_is_there(tmp_path, cache):
    (cache / "test_f.pt").unlink()
    line = failure(tip, tmp_path, cache)
    assert "no test_f.pt" in line
    assert "val, keys_1shots, keys_2shots, keys_4shots" in line
    assert not (tmp_path / "results").exists()


def test_other_mistakes_about_the_cache_are_one_line(tmp_path, cache):
    assert "none does not exist" in failure(tip, tmp_path, tmp_path / "none")
    assert "test: train is none of test, val, keys_1shots" in failure(tip, tmp_path, cache, "train")
    assert "keys_3shots.pt does not exist" in failure(tip, tmp_path, cache, "keys_3shots")
    (cache / "test_l.pt").unlink()
    assert "test_l.pt does not exist" in failure(tip, tmp_path, cache)


def test_counts_that_do_not_match_are_one_line(tmp_path, cache):
    torch.save(torch.arange(6), cache / "test_l.pt")
    assert "d/test: 7 features but 6 labels" in failure(tip, tmp_path, cache)


@pytest.mark.parametrize("values", [torch.eye(2), torch.zeros(3)])
def test_values_that_do_not_fit_the_keys_are_one_line(tmp_path, cache, values):
    torch.save(values, cache / "values_1shots.pt")
    assert "3 keys but values of shape" in failure(tip, tmp_path, cache)


def test_values_that_are_not_one_hot_are_one_line(tmp_path, cache):
    torch.save(torch.tensor([[1, 0, 0], [0, 0, 0], [1, 1, 0]]), cache / "values_1shots.pt")
    assert "values_1shots.pt: 2 rows are not one-hot, the first is row 1" in failure(tip, tmp_path, cache)


def test_keys_that_do_not_fit_each_other_are_one_line(tmp_path, cache):
    torch.save(torch.ones(D + 1, CLASSES), cache / "keys_1shots.pt")
    assert "parts differ in dimensions, (8,), (9,)" in failure(tip, tmp_path, cache)
    torch.save(torch.tensor(1.0), cache / "keys_1shots.pt")
    assert "keys of 1 shot have 0 axes" in failure(tip, tmp_path, cache)


def test_keys_of_no_shots_are_left(tmp_path, cache):
    torch.save(torch.ones(D, CLASSES), cache / "keys_0shots.pt")
    tip(tmp_path, cache)
    assert set(read(tmp_path, "train").draws.tolist()) == {1, 2, 4}
    assert "no multiple of 0 shots" in failure(tip, tmp_path, cache, "keys_0shots")


def test_keys_without_values_must_be_a_multiple_of_the_shots(tmp_path, cache):
    (cache / "values_4shots.pt").unlink()
    torch.save(unit(11, 0).T.contiguous(), cache / "keys_4shots.pt")
    assert "11 keys are no multiple of 4 shots" in failure(tip, tmp_path, cache)


def test_features_that_are_not_finite_are_one_line(tmp_path, cache):
    rows = unit(7, 0)
    rows[4, 2] = float("nan")
    torch.save(rows, cache / "test_f.pt")
    assert "row 4 (d/test/4)" in failure(tip, tmp_path, cache)


@pytest.mark.parametrize("shape", [(0, 8), (7,), (7, 2, 4)])
def test_features_of_another_shape_are_one_line(tmp_path, cache, shape):
    torch.save(torch.zeros(shape), cache / "test_f.pt")
    assert str(shape) in failure(tip, tmp_path, cache)


def test_more_classes_than_names_are_one_line(tmp_path, cache):
    line = failure(tip, tmp_path, cache, "test", ["a", "b"])
    assert "label 2 but only 2 classnames" in line
    tip(tmp_path, cache, "test", ["a", "b", "c"])
    assert read(tmp_path, "test").classnames == ["a", "b", "c"]


def test_files_of_other_names_are_left_alone(tmp_path, cache):
    (cache / "keys_manyshots.pt").write_bytes(b"x")
    assert len(tip(tmp_path, cache)) == 3


# ------------------------------------------------------------------------------------------------ no code runs


class Evil:
    """A pickle that runs code when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_is_refused_and_its_code_does_not_run(tmp_path, cache):
    mark = tmp_path / "pwned"
    for write in (lambda f: torch.save(Evil(mark), f), lambda f: f.write_bytes(pickle.dumps(Evil(mark)))):
        write(cache / "test_f.pt")
        assert "test_f.pt holds no" in failure(tip, tmp_path, cache)
        assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))
    assert mark.exists()  # it would have


def test_object_arrays_are_refused_and_their_code_does_not_run(tmp_path):
    mark = tmp_path / "pwned"
    evil = np.empty(1, object)
    evil[0] = Evil(mark)
    np.savez(tmp_path / "x.npz", image_features=evil, labels=np.zeros(1))
    assert "without pickles" in failure(arrays, tmp_path, "x.npz")
    np.save(tmp_path / "x.npy", evil)
    assert "x.npy is not a readable .npy file without pickles" in failure(text, tmp_path, "x.npy")
    assert not mark.exists()


@pytest.mark.parametrize("thing", [{"a": torch.ones(2)}, [1, 2], "text"])
def test_a_pt_file_of_anything_but_a_tensor_is_one_line(tmp_path, cache, thing):
    torch.save(thing, cache / "test_f.pt")
    assert f"test_f.pt holds no tensor, but a {type(thing).__name__}" in failure(tip, tmp_path, cache)


# ------------------------------------------------------------------------------------------ npz, safetensors


def arrays(tmp_path, name, split="test"):
    return import_arrays(tmp_path / "results", "b", "d", tmp_path / name, split)


def write_npz(path, **named):
    np.savez(path, **named)


def write_safetensors(path, **named):
    from safetensors.numpy import save_file

    save_file(named, path)


WRITERS = {"x.npz": write_npz, "x.safetensors": write_safetensors}
FEATURES = np.random.default_rng(0).normal(size=(4, D)).astype(np.float32)


@pytest.mark.parametrize("name", WRITERS)
def test_arrays_come_in_exactly(tmp_path, name):
    WRITERS[name](tmp_path / name, image_features=FEATURES, labels=np.array([1, 0, 2, 1]))
    assert arrays(tmp_path, name, "val") == [tmp_path / "results/features/b/d/val.h5"]
    found = read(tmp_path, "val")
    np.testing.assert_array_equal(found.image_features, FEATURES)
    assert found.labels.tolist() == [1, 0, 2, 1]
    assert not found.normalised
    assert found.provenance["imported"] == {"format": name[2:]}
    assert found.provenance["split"] == "val"


@pytest.mark.parametrize("name", WRITERS)
def test_draws_come_in(tmp_path, name):
    WRITERS[name](tmp_path / name, image_features=FEATURES, labels=np.arange(4), draws=np.array([1, 1, 2, 2]))
    arrays(tmp_path, name, "train")
    assert read(tmp_path, "train").draws.tolist() == [1, 1, 2, 2]


def test_paths_come_in_from_an_npz(tmp_path):
    np.savez(tmp_path / "x.npz", image_features=FEATURES, labels=np.arange(4), paths=np.array(["a", "b", "é", "d"]))
    arrays(tmp_path, "x.npz")
    assert read(tmp_path, "test").paths == ["a", "b", "é", "d"]


def test_bfloat16_comes_in_as_float32(tmp_path):
    from safetensors.torch import save_file

    half = torch.from_numpy(FEATURES).bfloat16()
    save_file({"image_features": half, "labels": torch.arange(4)}, tmp_path / "x.safetensors")
    arrays(tmp_path, "x.safetensors")
    np.testing.assert_array_equal(read(tmp_path, "test").image_features, half.float().numpy())


@pytest.mark.parametrize("name", WRITERS)
def test_bad_arrays_are_one_line(tmp_path, name):
    write = WRITERS[name]
    write(tmp_path / name, image_features=FEATURES, label=np.arange(4))
    assert "holds image_features, label but no labels" in failure(arrays, tmp_path, name)
    write(tmp_path / name, image_features=FEATURES, labels=np.arange(3))
    assert "4 features but 3 labels" in failure(arrays, tmp_path, name)
    write(tmp_path / name, image_features=FEATURES * np.nan, labels=np.arange(4))
    assert "4 of 4 feature rows are NaN" in failure(arrays, tmp_path, name)
    write(tmp_path / name, image_features=FEATURES, labels=np.arange(4), draws=np.arange(2))
    assert "2 draws" in failure(arrays, tmp_path, name)
    assert "none.npz does not exist" in failure(arrays, tmp_path, "none.npz")


@pytest.mark.parametrize("name", WRITERS)
def test_labels_must_be_whole_numbers(tmp_path, name):
    for labels in ([0.5, 1, 2, 3], [np.nan, 1, 2, 3]):
        WRITERS[name](tmp_path / name, image_features=FEATURES, labels=np.array(labels))
        assert "labels must be whole numbers" in failure(arrays, tmp_path, name)


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_of_the_user_are_one_line_and_not_to_be_deleted(tmp_path, name):
    WRITERS[name](tmp_path / name, image_features=FEATURES, labels=np.arange(4))
    good = (tmp_path / name).read_bytes()
    for bad in (b"", b"nothing of that kind", good[:100], good[: len(good) // 2], good[:-40]):
        (tmp_path / name).write_bytes(bad)
        line = failure(arrays, tmp_path, name)
        assert name in line
        assert "elete" not in line


def test_a_flipped_byte_in_an_npz_is_found(tmp_path):
    np.savez(tmp_path / "x.npz", image_features=FEATURES, labels=np.arange(4))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[data.index(FEATURES.tobytes()) + 5] ^= 1
    (tmp_path / "x.npz").write_bytes(data)
    assert "x.npz" in failure(arrays, tmp_path, "x.npz")


# ------------------------------------------------------------------------------------------------------ texts


TEXTS = np.random.default_rng(1).normal(size=(3, D)).astype(np.float32)


def text(tmp_path, name, names=None, template="a photo of a {}."):
    return import_text(tmp_path / "results", "b", "d", tmp_path / name, names, template)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("n.json", json.dumps(["cat", "dog", "été"])),
        ("n.json", json.dumps({"1": "dog", "0": "cat", "2": "été"})),
        ("n.txt", "cat\ndog \n\nété\n"),
    ],
)
@pytest.mark.parametrize("kind", [".npy", ".pt"])
def test_texts_come_in_with_their_names(tmp_path, name, content, kind):
    (tmp_path / name).write_text(content, encoding="utf-8")
    np.save(tmp_path / "t.npy", TEXTS)
    torch.save(torch.from_numpy(TEXTS), tmp_path / "t.pt")
    path = text(tmp_path, f"t{kind}", tmp_path / name, "the {}")
    assert path == tmp_path / "results/text/b/d.h5"
    found = store.read_texts(path)
    np.testing.assert_array_equal(found.text_features, TEXTS[None])
    assert (found.classnames, found.templates) == (["cat", "dog", "été"], ["the {}"])
    assert found.provenance["normalised"] is False
    assert found.provenance["text"]["templates"] == ["the {}"]


def test_texts_without_names_get_numbers(tmp_path):
    np.save(tmp_path / "t.npy", TEXTS / np.linalg.norm(TEXTS, axis=1, keepdims=True))
    found = store.read_texts(text(tmp_path, "t.npy"))
    assert found.classnames == ["class 0", "class 1", "class 2"]
    assert found.provenance["normalised"] is True


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("n.json", '["cat", "dog"]', "holds 3 text features but"),
        ("n.txt", "one\ntwo\nthree\nfour\n", "4 names"),
        ("n.json", '["cat", ', "not valid JSON"),
        ("n.json", '{"1": "a", "2": "b", "3": "c"}', "must hold a list of names"),
        ("n.json", '{"0": ["n01", "tench"], "1": ["n02", "ray"], "2": ["n03", "x"]}', "must hold a list of names"),
        ("n.json", "[1, 2, 3]", "must hold a list of names"),
        ("n.json", "3", "must hold a list of names"),
        ("none.txt", None, "does not exist"),
    ],
)
def test_bad_names_are_one_line(tmp_path, name, content, said):
    np.save(tmp_path / "t.npy", TEXTS)
    if content is not None:
        (tmp_path / name).write_text(content)
    line = failure(text, tmp_path, "t.npy", tmp_path / name)
    assert said in line
    assert name in line


def test_bad_texts_are_one_line(tmp_path):
    np.save(tmp_path / "t.npy", TEXTS[None])
    assert "(1, 3, 8)" in failure(text, tmp_path, "t.npy")
    np.save(tmp_path / "t.npy", TEXTS * np.inf)
    assert "NaN or infinite" in failure(text, tmp_path, "t.npy")
    (tmp_path / "t.npy").write_bytes(b"no array")
    assert "t.npy is not a readable .npy file" in failure(text, tmp_path, "t.npy")
    assert "none.pt does not exist" in failure(text, tmp_path, "none.pt")
    np.save(tmp_path / "t.npy", TEXTS)
    assert "lacks {}" in failure(text, tmp_path, "t.npy", None, "a photo")


# ------------------------------------------------------------------------------------------ whole experiments


def experiment(experiment_of, cache, **id_parts):
    far = [{"name": "other", "imported": {"tip_adapter": str(cache), "test": "val"}}, "noise"]
    sets = [{"name": "d", "imported": {"tip_adapter": str(cache)}, "ood": {"far": far}, **id_parts}]
    backbones = [{"name": name, "model": "m", "pretrained": "p"} for name in ("b", "c")]
    return parse(experiment_of(backbones=backbones, id_datasets=sets))


def test_an_experiment_imports_what_it_describes_under_every_backbone(tmp_path, cache, experiment_of):
    np.save(tmp_path / "t.npy", TEXTS)
    described = {"imported": {"tip_adapter": str(cache), "text": str(tmp_path / "t.npy")}, "templates": ["the {}"]}
    written = import_experiment(tmp_path / "results", experiment(experiment_of, cache, **described))
    names = [path.relative_to(tmp_path / "results").as_posix() for path in written]
    assert sorted(names) == sorted(
        [f"features/{b}/d/{split}.h5" for b in "bc" for split in ("train", "val", "test")]
        + [f"features/{b}/other/{split}.h5" for b in "bc" for split in ("train", "test")]
        + [f"text/{b}/d.h5" for b in "bc"]
    )
    assert store.read_texts(tmp_path / "results/text/b/d.h5").templates == ["the {}"]


def test_what_was_imported_is_what_the_experiment_means(tmp_path, cache, experiment_of):
    from oodgrid import plan

    described = experiment(experiment_of, cache)
    import_experiment(tmp_path / "results", described)
    plan.check_identities(tmp_path / "results", described)
    plan.check_imports(tmp_path / "results", described)


def test_an_experiment_without_imports_says_so(tmp_path, experiment_of):
    assert "mini imports nothing" in failure(import_experiment, tmp_path, parse(experiment_of()))


def test_features_of_ones_own_are_asked_for_by_the_command_that_brings_them(tmp_path, experiment_of, cache):
    """`imported: {}` names no file: the mend is import npz; of a cache that is named it is import experiment."""
    from oodgrid import plan

    sets = [{"name": "d", "imported": {}, "ood": {"far": [{"name": "other", "imported": {}}]}}]
    backbones = [{"name": "b", "model": "m", "pretrained": "p"}]
    by_hand = parse(experiment_of(backbones=backbones, id_datasets=sets))
    with pytest.raises(OodgridError) as said:
        plan.check_imports(tmp_path, by_hand)
    for name in ("d", "other"):
        assert f"oodgrid import npz FILE --backbone b --dataset {name} --split test" in str(said.value)
    assert "import npz" in failure(import_experiment, tmp_path, by_hand)
    with pytest.raises(OodgridError, match="import experiment CONFIG first"):
        plan.check_imports(tmp_path, experiment(experiment_of, cache))


def test_the_real_features_come_in(tmp_path, shared, monkeypatch):
    monkeypatch.setenv("OODGRID_SHARED", str(shared))
    root = Path(__file__).parents[2]
    written = import_experiment(tmp_path, load(root / "experiments" / "clip-b32-features.yaml"))
    found = {path.relative_to(tmp_path).as_posix() for path in written}
    assert "text/clip-vit-b32/imagenet.h5" in found
    imagenet = store.read_features(tmp_path / "features/clip-vit-b32/imagenet/test.h5")
    assert imagenet.image_features.shape == (4000, 512)
    assert imagenet.normalised
    texts = store.read_texts(tmp_path / "text/clip-vit-b32/imagenet.h5")
    x = imagenet.image_features.astype(np.float64)
    t = texts.text_features[0].astype(np.float64)
    cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (t / np.linalg.norm(t, axis=1, keepdims=True)).T
    assert np.mean(cosines.argmax(axis=1) == imagenet.labels) == pytest.approx(0.6112, abs=5e-4)
