"""Files of named arrays from anybody: taken exactly, or refused in one line."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oodgrid import paths, store
from oodgrid.encode.importing import import_arrays, import_npy
from oodgrid.errors import OodgridError
from tests.failing import failure

FEATURES = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
LABELS = np.arange(4)
UNIT = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    return import_arrays(tmp_path / "results", "b", "d", tmp_path / "x.npz", "test")[0]


def parquet(tmp_path, metadata=None, **columns):
    pl.DataFrame(columns).write_parquet(tmp_path / "x.parquet", metadata=metadata or {})
    return import_arrays(tmp_path / "results", "b", "d", tmp_path / "x.parquet", "test")[0]


def safetensors(tmp_path, metadata, **arrays):
    from safetensors.numpy import save_file

    save_file(arrays, tmp_path / "x.safetensors", metadata=metadata)
    return import_arrays(tmp_path / "results", "b", "d", tmp_path / "x.safetensors", "test")[0]


KINDS = st.sampled_from(["f2", ">f2", "f4", "f8", "i8", "u1", "?", "c8", "U3", "S3"])


def any_array(shapes):
    return st.tuples(KINDS, shapes).flatmap(lambda drawn: hnp.arrays(*drawn))


COUNT = 2
ONE_AXIS = st.sampled_from([(COUNT,), (COUNT, 1), (1,), (), (COUNT, COUNT)])
FIELDS = {
    "image_features": any_array(st.sampled_from([(COUNT, 3), (COUNT,), (COUNT, 3, 1), (0, 3)])),
    "labels": any_array(ONE_AXIS),
    "draws": any_array(ONE_AXIS),
    "paths": any_array(ONE_AXIS),
    "classnames": any_array(ONE_AXIS),
    "sha256": any_array(st.sampled_from([(COUNT, 32), (COUNT, 3)])),
    "stamps": any_array(st.sampled_from([(COUNT, 2), (COUNT,)])),
    "local_features": any_array(st.sampled_from([(COUNT, 2, 3), (COUNT, 3)])),
    "provenance": st.sampled_from(["{}", "[]", "{", '{"classnames": 3}', '{"normalised": 1}']).map(np.array),
}


A_FEW_FIELDS = st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=2).flatmap(
    lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=A_FEW_FIELDS)
def test_whatever_an_npz_holds_is_taken_with_its_values_or_refused(tmp_path, drawn):
    sound = {"image_features": np.ones((COUNT, 3), np.float32), "labels": np.zeros(COUNT, int)}
    arrays = {**sound, **drawn}
    try:
        found = store.read_features(npz(tmp_path, **arrays), as_stored=True)
        event("taken")
    except OodgridError as error:
        assert "\n" not in str(error)
        assert drawn
        return
    np.testing.assert_array_equal(found.image_features, arrays["image_features"].astype(np.float32))
    np.testing.assert_array_equal(found.labels, arrays["labels"].reshape(-1))
    for name in {"draws", "sha256", "stamps"} & drawn.keys():
        np.testing.assert_array_equal(getattr(found, name).reshape(-1), drawn[name].reshape(-1))
    if "paths" in drawn:
        texts = [
            text.decode(errors="surrogateescape") if isinstance(text, bytes) else str(text)
            for text in drawn["paths"].tolist()
        ]
        assert list(found.paths) == texts


def test_classnames_may_stand_beside_the_features(tmp_path):
    found = store.read_features(
        npz(tmp_path, image_features=FEATURES, labels=LABELS, classnames=np.array(list("abcd")))
    )
    assert found.classnames == list("abcd")
    line = failure(npz, tmp_path, image_features=FEATURES, labels=LABELS, classnames=np.array(["a"]))
    assert "label 3 but only 1 classname" in line


def test_classnames_of_the_provenance_stand_in_for_them(tmp_path):
    about = np.array(json.dumps({"classnames": list("wxyz")}))
    found = store.read_features(npz(tmp_path, image_features=FEATURES, labels=LABELS, provenance=about))
    assert found.classnames == list("wxyz")


@pytest.mark.parametrize("scale", [1, 2])
def test_texts_without_a_provenance_are_looked_at_for_their_norms(tmp_path, scale):
    path = npz(tmp_path, text_features=scale * UNIT[None], classnames=np.array(list("abcd")), templates=["a {}"])
    assert store.read_provenance(path)["normalised"] is (scale == 1)


def test_texts_that_do_not_fit_are_one_line(tmp_path):
    sound = {"text_features": UNIT[None], "classnames": np.array(list("abcd")), "templates": np.array(["a {}"])}
    assert "lacks {}" in failure(npz, tmp_path, **{**sound, "templates": np.array(["a"])})
    assert "no templates" in failure(npz, tmp_path, text_features=UNIT[None], classnames=sound["classnames"])
    assert "do not fit" in failure(npz, tmp_path, **{**sound, "text_features": UNIT})
    assert "do not fit" in failure(npz, tmp_path, **{**sound, "classnames": np.array(list("abc"))})
    assert not paths.texts(tmp_path / "results", "b", "d").exists()


@pytest.mark.parametrize("text", ["3", "[1, 2, 3, 4]", "a,b"])
def test_metadata_that_are_no_texts_are_one_line(tmp_path, text):
    line = failure(safetensors, tmp_path, {"paths": text}, image_features=FEATURES, labels=LABELS)
    assert "paths must be" in line or "x.safetensors is not valid JSON" in line


# -------------------------------------------------------------------------------------------------------- Parquet


VECTORS = pl.Series(FEATURES.tolist(), dtype=pl.List(pl.Float32))


@pytest.mark.parametrize("dtype", [pl.List(pl.Float32), pl.Array(pl.Float32, 3), pl.Array(pl.Float16, 3)])
def test_parquet_of_other_programs(tmp_path, dtype):
    path = parquet(tmp_path, image_features=VECTORS.cast(dtype), labels=LABELS, paths=LABELS)
    found = store.read_features(path, as_stored=True)
    expected = FEATURES.astype(np.float16) if dtype.inner == pl.Float16 else FEATURES
    assert found.image_features.dtype == expected.dtype
    np.testing.assert_array_equal(found.image_features, expected)
    assert list(found.paths) == ["0", "1", "2", "3"]


TEXTS = {"image_features": None, "labels": None, "text_features": [[1.0], [2.0]]}  # beside images they are pairs


@pytest.mark.parametrize(
    ("columns", "metadata", "said"),
    [
        ({"image_features": [[1.0], [1.0, 2.0]]}, {}, "differ in length"),
        ({"image_features": [[1.0], None]}, {}, "1 row of image_features is empty"),
        ({"image_features": [[1.0], [None]]}, {}, "NaN or infinite"),
        ({"image_features": [{"a": 1}, {"a": 2}]}, {}, "not of lists"),
        ({"image_features": [["a"], ["b"]]}, {}, "real numbers"),
        ({"labels": [0, None]}, {}, "whole numbers"),
        ({"paths": ["a", None]}, {}, "none of them missing"),
        ({"sha256": [b"a", b"aa"]}, {}, "x.parquet"),
        ({"sha256": [b"a", None]}, {}, "x.parquet"),
        ({"sha256": ["a", "b"]}, {}, "(samples, 32)"),
        ({"sha256": [b"a", b"b"]}, {}, "(samples, 32)"),
        ({}, {"provenance": "[]"}, "no JSON object"),
        ({}, {"classnames": "{"}, "x.parquet"),
        ({**TEXTS, "classnames": ["a", "b"]}, {}, "'templates'"),
        ({**TEXTS, "classnames": ["a", "b"]}, {"templates": '["a {}", "b {}"]'}, "same class"),
        ({**TEXTS, "classnames": ["a", "b"]}, {"templates": "[]"}, "same class"),
        (TEXTS, {"templates": '["a {}"]'}, "same class"),
    ],
)
def test_parquet_that_is_not_sound_is_one_line(tmp_path, columns, metadata, said):
    sound = {"image_features": [[1.0], [2.0]], "labels": [0, 1]}
    given = {name: values for name, values in {**sound, **columns}.items() if values is not None}
    line = failure(parquet, tmp_path, metadata, **given)
    assert said in line
    assert not (tmp_path / "results").exists()


# ------------------------------------------------------------------------------------------------------ bare .npy


@pytest.mark.parametrize("shape", [(), (3,), (3, 2, 2), (0, 4)])
def test_a_bare_array_of_another_shape_is_one_line(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.ones(shape))
    line = failure(import_npy, tmp_path, "b", "d", tmp_path / "x.npy", None, None, "test")
    assert f"shape {shape}" in line


def test_a_big_endian_array_in_columns_comes_in_exactly(tmp_path):
    values = np.asfortranarray(FEATURES.astype(">f2"))
    np.save(tmp_path / "x.npy", values)
    (path,) = import_npy(tmp_path, "b", "d", tmp_path / "x.npy", None, None, "train")
    found = store.read_features(path, as_stored=True).image_features
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, values)


def test_a_set_without_labels_has_no_classes_and_that_is_said(tmp_path, capsys):
    """As OOD sets are."""
    found = store.read_features(npz(tmp_path, image_features=FEATURES, paths=np.array(list("abcd"))))
    assert found.labels.tolist() == [-1] * 4
    assert "x.npz holds no labels: none of its images has a class" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["y", "targets", "label"])
def test_labels_under_another_name_are_asked_for(tmp_path, name):
    line = failure(lambda: npz(tmp_path, image_features=FEATURES, **{name: LABELS}))
    assert f"but no labels: is {name} what is meant? Rename it" in line


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "1" * 5000, "{", "[]", '"x"'])
def test_a_provenance_that_is_none_is_one_line(tmp_path, text):
    line = failure(lambda: npz(tmp_path, image_features=FEATURES, labels=LABELS, provenance=np.array(text)))
    assert "provenance" in line
    assert len(line) < 500
