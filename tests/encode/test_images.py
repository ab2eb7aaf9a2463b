from __future__ import annotations

import hashlib
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from oodgrid import backbones, plan, store
from oodgrid.config import Backbone, Dataset
from oodgrid.encode import pipeline
from oodgrid.encode.images import encode_images
from oodgrid.errors import OodgridError

torch = pytest.importorskip("torch")

BATCH = pipeline.BATCH["cpu"]


@pytest.fixture
def folder(tmp_path):
    """A function that leaves N images, named in order, in a class folder."""

    def make(n, name="photos"):
        for k in range(n):
            path = tmp_path / name / "thing" / f"{k:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(k).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
        return Dataset(name=name, folder=str(tmp_path / name))

    return make


def features(written, split="test"):
    return store.read_features(next(path for path in written if path.stem == split))


def test_features_are_those_of_the_model_itself(tmp_path, untrained, folder):
    dataset = folder(5)
    backbone = Backbone(**untrained)
    found = features(encode_images(tmp_path, backbone, dataset))
    assert found.image_features.shape == (5, 16)
    assert found.image_features.dtype == np.float32
    loaded = backbones.load(backbone)
    for row, path in enumerate(found.paths):
        data = (tmp_path / "photos" / path).read_bytes()
        image = Image.open(io.BytesIO(data)).convert("RGB")
        batch = loaded.preprocess(image)[None].expand(BATCH, -1, -1, -1).to(loaded.device)
        with torch.inference_mode():
            expected = loaded.model.encode_image(batch, normalize=False)[0].cpu().numpy()
        np.testing.assert_allclose(found.image_features[row], expected, rtol=1e-5, atol=1e-6)
        assert found.sha256[row].tobytes() == hashlib.sha256(data).digest()
    assert not np.allclose(np.linalg.norm(found.image_features, axis=1), 1)  # as they are, not normalised


def test_an_image_has_the_same_features_whatever_stands_behind_it(tmp_path, untrained, folder):
    """A batch of another shape would change the last bits: every batch is full."""
    backbone = Backbone(**untrained)
    whole = features(encode_images(tmp_path / "a", backbone, folder(BATCH + 6, "large"))).image_features
    fewer = features(encode_images(tmp_path / "b", backbone, folder(BATCH + 1, "small"))).image_features
    np.testing.assert_array_equal(whole[: BATCH + 1], fewer)
    alone = features(encode_images(tmp_path / "c", backbone, folder(1, "alone"))).image_features
    np.testing.assert_array_equal(whole[:1], alone)


@pytest.mark.parametrize("count", [BATCH - 1, BATCH, 2 * BATCH])
def test_no_image_is_lost_or_doubled_at_the_edge_of_a_batch(tmp_path, untrained, folder, count):
    found = features(encode_images(tmp_path, Backbone(**untrained), folder(count)))
    assert len(found.labels) == len({row.tobytes() for row in found.image_features}) == count
    assert found.paths == sorted(found.paths)


def test_threads_change_nothing(tmp_path, untrained, folder, monkeypatch):
    dataset = folder(BATCH + 3)
    found = []
    for threads in ("1", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(features(encode_images(tmp_path / threads, Backbone(**untrained), dataset)))
    np.testing.assert_array_equal(found[0].image_features, found[1].image_features)
    assert found[0].digest == found[1].digest


def test_a_file_says_what_it_is(tmp_path, untrained):
    backbone = Backbone(**untrained, interpolation="bilinear")
    world = Dataset(name="world", concept_world={"group": "id", "train": 2, "val": 1, "test": 1})
    written = encode_images(tmp_path, backbone, world)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        f"features/untrained/world/{split}.h5" for split in ("train", "val", "test")
    ]
    for path, count in zip(written, (48, 24, 24), strict=True):
        found = store.read_features(path)
        said = found.provenance
        assert len(found.labels) == count
        assert said["split"] == path.stem
        assert said["dataset"] == {"name": "world", **world.identity}
        assert said["encode_version"] == plan.ENCODE_VERSION
        assert said["normalised"] is False
        assert said["backbone"]["preprocessing"]["interpolation"] == "bilinear"
        assert {key: said["backbone"][key] for key in backbone.identity} == backbone.identity
        assert len(said["backbone"]["weights_sha256"]) == 64
        assert found.classnames[0] == "orange circle" or len(found.classnames) == 24


def test_interpolation_changes_the_numbers(tmp_path, untrained, folder):
    dataset = folder(2)
    found = [
        features(encode_images(tmp_path / kind, Backbone(**untrained, interpolation=kind), dataset)).image_features
        for kind in ("bicubic", "bilinear")
    ]
    assert not np.array_equal(*found)


def test_splits_that_number_other_classes_are_refused(tmp_path, untrained):
    """Of shards with named labels each split is numbered alone."""
    pixels = io.BytesIO()
    Image.new("RGB", (8, 8)).save(pixels, "PNG")
    for split, names in (("train", "abc"), ("test", "ac")):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as shard:
            for name in names:
                for suffix, data in (("png", pixels.getvalue()), ("cls", name.encode())):
                    info = tarfile.TarInfo(f"{name}.{suffix}")
                    info.size = len(data)
                    shard.addfile(info, io.BytesIO(data))
    shards = {split: str(tmp_path / f"{split}.tar") for split in ("train", "test")}
    with pytest.raises(OodgridError, match=r"its splits train and test differ in the names of their classes .b."):
        encode_images(tmp_path, Backbone(**untrained), Dataset(name="w", webdataset={"shards": shards}))
    assert not (tmp_path / "features").exists()


def test_a_broken_image_leaves_no_file(tmp_path, untrained, folder):
    dataset = folder(3)
    broken = tmp_path / "photos" / "thing" / "001.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(OodgridError, match=r"thing/001\.png is a broken image"):
        encode_images(tmp_path / "results", Backbone(**untrained), dataset)
    assert not list((tmp_path / "results").rglob("*.h5"))
