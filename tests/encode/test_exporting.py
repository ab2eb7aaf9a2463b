"""Out and in again: every bit, in every format; and the other formats that people have features in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from oodgrid import paths, store
from oodgrid.encode.exporting import export
from oodgrid.encode.importing import import_arrays, import_clip_retrieval, import_npy, import_tip_adapter
from tests.failing import failure

pytest.importorskip("torch")
FORMATS = ("npz", "safetensors", "parquet")


def round_trip(folder: Path, features: store.Features, kind: str) -> store.Features:
    source = folder / "given.h5"
    store.write_features(source, features)
    out = export(source, folder / f"out.{kind}", force=True)
    (path,) = import_arrays(folder, "b", "d", out, "test")
    return store.read_features(path, as_stored=True)


def same(one, other):
    return (one is None and other is None) or (one.dtype == other.dtype and one.tobytes() == other.tobytes())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_feature_file_comes_back_to_the_bit(tmp_path, make_features, kind, dtype):
    given_ = make_features(
        n=6,
        image_features=make_features().image_features.astype(dtype),
        labels=np.array([0, 2, -1, 1, -1, 0], np.int32),
        paths=["", "été 1.jpg", "a/Ω b.png", "x" * 300, "c\n", " d "],
        draws=np.array([1, 1, 2, 2, 4, 4], np.int32),
        stamps=np.arange(12).reshape(6, 2),
    )
    found = round_trip(tmp_path, given_, kind)
    for name in ("image_features", "labels", "sha256", "draws", "stamps"):
        assert same(getattr(found, name), getattr(given_, name)), name
    assert list(found.paths) == given_.paths
    assert found.classnames == given_.classnames
    assert found.normalised == given_.normalised
    assert found.provenance["imported"] == {"format": kind, "original": given_.provenance}


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_values_come_back(tmp_path, kind, data):
    dtype, width = data.draw(st.sampled_from([(np.float16, 16), (np.float32, 32)]))
    n, d = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    values = data.draw(arrays(dtype, (n, d), elements=finite))
    labels = np.array(data.draw(st.lists(st.integers(-1, 9), min_size=n, max_size=n)), np.int32)
    names = data.draw(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9), min_size=n, max_size=n)
    )
    made = store.Features(values, labels, names, np.zeros((n, 32), np.uint8), {"classnames": None})
    found = round_trip(tmp_path, made, kind)
    assert same(found.image_features, values)
    assert same(found.labels, labels)
    assert list(found.paths) == names


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_both_zeros_and_the_smallest_and_largest_numbers_come_back(tmp_path, make_features, kind, dtype):
    """Table formats may take two zeros for one value of a dictionary, or flush what is subnormal."""
    limits = np.finfo(dtype)
    row = [0.0, -0.0, limits.smallest_subnormal, -limits.smallest_subnormal, limits.max, limits.min]
    values = np.array([row, row[::-1], [0.0] * 6, [-0.0] * 6, row, row], dtype)
    assert same(round_trip(tmp_path, make_features(image_features=values), kind).image_features, values)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("scale", [1, 3])
def test_what_was_said_of_the_norms_is_said_again(tmp_path, make_features, kind, normalised, scale):
    """Also where an encoder happens to make unit vectors, or where rounding has moved them."""
    about = {"split": "test", "classnames": None, "normalised": normalised}
    values = scale * np.eye(6, dtype=np.float32)
    found = round_trip(tmp_path, make_features(image_features=values, provenance=about), kind)
    assert found.normalised is normalised
    assert found.classnames is None


@pytest.mark.parametrize("kind", FORMATS)
def test_one_sample_that_went_out_and_in_twice(tmp_path, make_features, kind):
    given_ = make_features(n=1)
    found = round_trip(tmp_path, round_trip(tmp_path, given_, kind), kind)
    assert same(found.image_features, given_.image_features)
    assert list(found.paths) == given_.paths
    assert found.provenance["imported"]["original"]["imported"]["original"] == given_.provenance


@pytest.mark.parametrize("kind", FORMATS)
def test_work_done_on_the_features_is_found_again(tmp_path, make_features, kind):
    """The digest of the data, by which kept work is found, does not depend on the way that they came."""
    found = round_trip(tmp_path, make_features(), kind)
    assert found.digest == store.read_features(tmp_path / "given.h5").digest


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_file_names_that_are_no_utf8_come_back(tmp_path, make_features, kind):
    names = ["a", "b\udcff.jpg", *"cdef"]
    assert list(round_trip(tmp_path, make_features(paths=names), kind).paths) == names


def test_file_names_that_are_no_utf8_do_not_fit_into_a_table(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features(paths=["a", "b\udcff.jpg", *"cdef"]))
    line = failure(export, tmp_path / "f.h5", tmp_path / "f.parquet")
    assert "'b\\udcff.jpg' is no UTF-8" in line
    assert not (tmp_path / "f.parquet").exists()


def test_names_beyond_what_safetensors_holds_are_one_line(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features(n=1, paths=["x" * 100_000_000]))
    assert "95 MiB of names" in failure(export, tmp_path / "f.h5", tmp_path / "f.safetensors")
    assert not (tmp_path / "f.safetensors").exists()


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_local_features_come_back(tmp_path, make_features, kind):
    """In more blocks than one, in half precision."""
    local = np.random.default_rng(0).normal(size=(300, 3, 4)).astype(np.float16)
    round_trip(tmp_path, make_features(n=300, local_features=local), kind)
    found = store.read_local_features(paths.features(tmp_path, "b", "d", "test"))
    assert same(np.concatenate([values for _, values in found]), local)


def test_local_features_do_not_fit_into_a_table(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features(local_features=np.zeros((6, 1, 4), np.float32)))
    assert "npz or .safetensors" in failure(export, tmp_path / "f.h5", tmp_path / "f.parquet")
    assert not (tmp_path / "f.parquet").exists()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_texts_of_several_templates_come_back(tmp_path, kind, dtype):
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(dtype)
    about = {"text": {"templates": ["a {}.", "the {}."]}, "normalised": False}
    store.write_texts(tmp_path / "t.h5", store.Texts(values, ["chat", "chien", "été"], ["a {}.", "the {}."], about))
    (path,) = import_arrays(tmp_path, "b", "d", export(tmp_path / "t.h5", tmp_path / f"t.{kind}"), "test")
    assert path == paths.texts(tmp_path, "b", "d")
    found = store.read_texts(path, as_stored=True)
    assert same(found.text_features, values)
    assert (found.classnames, found.templates) == (["chat", "chien", "été"], ["a {}.", "the {}."])
    assert found.provenance["imported"]["original"] == about


def test_a_cache_of_tip_adapter_keeps_its_half_precision(tmp_path):
    import torch

    cache = tmp_path / "cache"
    cache.mkdir()
    values = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).half()
    torch.save(values, cache / "test_f.pt")
    torch.save(torch.tensor([0, 1, 0, 1, 1]), cache / "test_l.pt")
    import_tip_adapter(tmp_path, "b", "d", cache)
    out = export(paths.features(tmp_path, "b", "d", "test"), tmp_path / "o.npz")
    assert same(np.load(out)["image_features"], values.numpy())


@pytest.mark.parametrize("kind", FORMATS)
def test_a_real_cache_goes_out_and_in_to_the_bit(tmp_path, shared, kind):
    import torch

    cache = shared / "data" / "clip_vitb32_features" / "tip_adapter_caches" / "dtd"
    for path in import_tip_adapter(tmp_path / "first", "b", "d", cache, "val"):
        out = export(path, tmp_path / f"{path.stem}.{kind}")
        (again,) = import_arrays(tmp_path / "second", "b", "d", out, path.stem)
        first, second = (store.read_features(file, as_stored=True) for file in (path, again))
        assert second.digest == first.digest
        assert (second.normalised, second.classnames) == (first.normalised, first.classnames)
        if path.stem == "test":
            given_ = torch.load(cache / "val_f.pt", map_location="cpu", weights_only=True).numpy()
            assert same(second.image_features, given_)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_other_programs_read(tmp_path, make_features, kind):
    """The files are plain ones of their kind."""
    store.write_features(tmp_path / "f.h5", make_features())
    out = export(tmp_path / "f.h5", tmp_path / f"f.{kind}")
    if kind == "npz":
        with np.load(out, allow_pickle=False) as found:
            features, labels, names = found["image_features"], found["labels"], found["paths"].tolist()
            about = json.loads(str(found["provenance"]))
    elif kind == "safetensors":
        from safetensors import safe_open

        with safe_open(out, "numpy") as found:
            features, labels = found.get_tensor("image_features"), found.get_tensor("labels")
            names, about = (json.loads(found.metadata()[name]) for name in ("paths", "provenance"))
    else:
        table = pl.read_parquet(out)
        features, labels, names = table["image_features"].to_numpy(), table["labels"], table["paths"].to_list()
        about = json.loads(pl.read_parquet_metadata(out)["provenance"])
    np.testing.assert_array_equal(features, make_features().image_features)
    assert list(labels) == make_features().labels.tolist()
    assert names == make_features().paths
    assert about == make_features().provenance


def test_nothing_is_written_over_without_force(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    (tmp_path / "f.npz").write_text("mine")
    assert "--force" in failure(export, tmp_path / "f.h5", tmp_path / "f.npz")
    assert (tmp_path / "f.npz").read_text() == "mine"
    export(tmp_path / "f.h5", tmp_path / "f.npz", force=True)
    assert np.load(tmp_path / "f.npz")["labels"].shape == (6,)


def test_other_mistakes_of_exporting_are_one_line(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    assert "the suffix says the format" in failure(export, tmp_path / "f.h5", tmp_path / "f.csv")
    assert "missing" in failure(export, tmp_path / "none.h5", tmp_path / "f.npz")
    store.write_views(tmp_path / "v.h5", store.NewViews(np.arange(2), np.ones((2, 2, 3), np.float32), {}))
    assert "holds views or pseudo-OOD texts" in failure(export, tmp_path / "v.h5", tmp_path / "f.npz")
    assert not list(tmp_path.glob("*.npz"))


def test_a_folder_is_not_written_over_even_with_force(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    (tmp_path / "f.npz").mkdir()
    assert "choose another name" in failure(export, tmp_path / "f.h5", tmp_path / "f.npz", force=True)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["f.h5", "f.npz"]


def test_a_damaged_file_is_not_given_away(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    data = bytearray((tmp_path / "f.h5").read_bytes())
    data[data.index(make_features().image_features.tobytes())] ^= 1
    (tmp_path / "f.h5").write_bytes(data)
    assert "damaged" in failure(export, tmp_path / "f.h5", tmp_path / "f.npz")
    assert not (tmp_path / "f.npz").exists()


# ---------------------------------------------------------------------------------------------------- bare arrays


@pytest.mark.parametrize("kind", ["npy", "txt", None])
def test_npy_and_labels(tmp_path, kind):
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float16)
    np.save(tmp_path / "x.npy", values)
    if kind == "npy":
        np.save(tmp_path / "y.npy", np.array([2, 0, 1]))
    elif kind:
        (tmp_path / "y.txt").write_text("2\n0\n1\n")
    (tmp_path / "names.txt").write_text("a b\né\nc\n")
    labels = tmp_path / f"y.{kind}" if kind else None
    (path,) = import_npy(tmp_path, "b", "d", tmp_path / "x.npy", labels, tmp_path / "names.txt", "test")
    found = store.read_features(path, as_stored=True)
    assert same(found.image_features, values)
    assert found.labels.tolist() == ([2, 0, 1] if kind else [-1, -1, -1])
    assert list(found.paths) == ["a b", "é", "c"]


def test_double_precision_becomes_single_and_the_file_says_so(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(3, 4)))
    (path,) = import_npy(tmp_path, "b", "d", tmp_path / "x.npy", None, None, "test")
    assert store.read_provenance(path)["imported"] == {"format": "npy", "dtype": "float64"}
    assert store.read_features(path, as_stored=True).image_features.dtype == np.float32


def test_bare_arrays_that_do_not_fit_are_one_line(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3, 4)))
    (tmp_path / "y.txt").write_text("0\ncat\n1\n")
    (tmp_path / "names.txt").write_text("a\nb\n")
    where = (tmp_path, "b", "d", tmp_path / "x.npy")
    assert "whole number a line" in failure(import_npy, *where, tmp_path / "y.txt", None, "test")
    assert "3 features but" in failure(import_npy, *where, None, tmp_path / "names.txt", "test")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "o.npy" in failure(import_npy, tmp_path, "b", "d", tmp_path / "o.npy", None, None, "test")


# ------------------------------------------------------------------------------------------------ clip-retrieval


@pytest.fixture
def retrieved(tmp_path):
    """A folder of eleven parts, so that 10 comes after 2."""
    values = np.random.default_rng(0).normal(size=(22, 4)).astype(np.float16)
    for folder in ("img_emb", "metadata"):
        (tmp_path / "out" / folder).mkdir(parents=True)
    for part in range(11):
        rows = slice(2 * part, 2 * part + 2)
        np.save(tmp_path / "out" / "img_emb" / f"img_emb_{part}.npy", values[rows])
        names = [f"{'cat' if row % 3 else 'dog'}/{row:02}.jpg" for row in range(22)[rows]]
        table = pl.DataFrame({"image_path": names, "caption": ["x", None], "y": [part % 2, 1]})
        table.write_parquet(tmp_path / "out" / "metadata" / f"metadata_{part}.parquet")
    return tmp_path / "out", values


@pytest.mark.parametrize("label", [None, "folder", "y"])
def test_a_folder_of_clip_retrieval(tmp_path, retrieved, label):
    folder, values = retrieved
    (path,) = import_clip_retrieval(tmp_path, "b", "d", folder, "test", label)
    found = store.read_features(path, as_stored=True)
    assert same(found.image_features, values)
    assert [name[-6:-4] for name in found.paths] == [f"{row:02}" for row in range(22)]
    if label is None:
        assert set(found.labels.tolist()) == {-1}
    elif label == "folder":
        assert found.classnames == ["cat", "dog"]
        assert found.labels.tolist() == [int(row % 3 == 0) for row in range(22)]
    else:
        assert found.labels.tolist() == [value for part in range(11) for value in (part % 2, 1)]


def test_folders_that_do_not_fit_are_one_line(tmp_path, retrieved):
    folder, _ = retrieved
    where = (tmp_path, "b", "d")
    assert "no column z" in failure(import_clip_retrieval, *where, folder, "test", "z")
    (folder / "metadata" / "metadata_4.parquet").unlink()
    assert "part 4" in failure(import_clip_retrieval, *where, folder, "test")
    assert "img_emb_0.npy" in failure(import_clip_retrieval, *where, tmp_path, "test")
