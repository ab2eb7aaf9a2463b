from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from oodgrid import store
from oodgrid.config import Backbone, Dataset
from oodgrid.encode.images import encode_images
from oodgrid.encode.verifying import check_sources
from tests import failing

pytest.importorskip("torch")


def save(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    for k in range(6):
        save(tmp_path / "photos" / f"class {k % 2}" / f"{k}.png", k)
    return tmp_path / "photos"


@pytest.fixture
def encoded(tmp_path, photos, untrained):
    (path,) = encode_images(tmp_path, Backbone(**untrained), Dataset(name="photos", folder=str(photos)))
    return path


def failure(path, deep=False):
    line = failing.failure(check_sources, path, deep)
    assert str(path) in line
    return line


def test_nothing_has_changed(encoded):
    assert "6 images have the size and time" in check_sources(encoded)
    assert "6 images have the SHA-256" in check_sources(encoded, deep=True)


def test_an_image_of_another_size(encoded, photos):
    (photos / "class 1" / "3.png").write_bytes(b"x")
    assert "1 of its images has another size or time, the first: class 1/3.png" in failure(encoded)


def test_an_image_with_its_size_and_time_kept_is_found_by_deep_alone(encoded, photos):
    path = photos / "class 0" / "2.png"
    data, times = bytearray(path.read_bytes()), path.stat()
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    check_sources(encoded)
    assert "another content, the first: class 0/2.png" in failure(encoded, deep=True)


def test_a_touched_image_is_the_same_to_deep(encoded, photos):
    os.utime(photos / "class 0" / "2.png", ns=(1, 1))
    assert "another size or time" in failure(encoded)
    assert "SHA-256" in check_sources(encoded, deep=True)


def test_images_that_came_and_went(encoded, photos):
    save(photos / "class 0" / "9.png", 9)
    assert "1 of its images is new, the first: class 0/9.png" in failure(encoded)
    (photos / "class 0" / "0.png").unlink()
    assert "1 of its images is gone, the first: class 0/0.png" in failure(encoded)


def test_another_class_order(encoded, photos, tmp_path):
    (photos / "class 0").rename(photos / "x")
    (photos / "class 1").rename(photos / "class 0")
    (photos / "x").rename(photos / "class 1")
    assert "are gone" in failure(encoded)


def test_skipped_images_are_not_missed_until_they_are_mended(tmp_path, photos, untrained):
    broken = photos / "class 0" / "0.png"
    sound = broken.read_bytes()
    broken.write_bytes(b"broken")
    dataset = Dataset(name="photos", folder=str(photos), on_error="skip")
    (path,) = encode_images(tmp_path, Backbone(**untrained), dataset)
    assert "5 images" in check_sources(path, deep=True)
    broken.write_bytes(sound)
    assert "one is mended: class 0/0.png" in failure(path, deep=True)
    assert "one is mended: class 0/0.png" in failure(path)


def test_an_image_too_long_to_be_resized_is_as_broken_as_before(tmp_path, photos, untrained):
    Image.new("RGB", (180_000, 1)).save(photos / "class 0" / "line.png")
    dataset = Dataset(name="photos", folder=str(photos), on_error="skip")
    (path,) = encode_images(tmp_path, Backbone(**untrained), dataset)
    assert [name for name, _ in store.read_provenance(path)["skipped"]] == ["class 0/line.png"]
    assert "6 images" in check_sources(path, deep=True)


def test_a_file_of_an_earlier_encoding(encoded):
    found = store.read_features(encoded)
    store.write_features(encoded, replace(found, provenance={**found.provenance, "encode_version": 1}))
    assert "its encoding is of version 1" in failure(encoded)


def test_sources_without_sizes_are_told_apart(tmp_path, untrained):
    (path,) = encode_images(
        tmp_path, Backbone(**untrained), Dataset(name="n", generated={"kind": "noise", "images": 4})
    )
    assert "--deep" in check_sources(path)
    assert "SHA-256" in check_sources(path, deep=True)


def test_files_without_images_behind_them(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    assert check_sources(tmp_path / "f.h5") == "no samples stand behind it"
    store.write_views(tmp_path / "v.h5", store.NewViews(np.array([0]), np.ones((1, 1, 2), np.float32), {"views": {}}))
    assert "training split" in check_sources(tmp_path / "v.h5")
