from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from oodgrid import backbones, fewshot, paths, store
from oodgrid.config import Backbone, parse
from oodgrid.encode import views, work
from oodgrid.encode.chunks import Chunks
from oodgrid.encode.images import encode_images
from oodgrid.encode.views import Crop, draw_crop, encode_views, make_view
from oodgrid.encode.work import Shard
from oodgrid.errors import OodgridError

torch = pytest.importorskip("torch")
transforms = pytest.importorskip("torchvision.transforms")


@pytest.mark.parametrize("family", views.SCALES)
@pytest.mark.parametrize(("width", "height"), [(500, 375), (224, 224), (90, 300)])
def test_the_distribution_is_that_of_torchvision(family, width, height):
    torch.manual_seed(0)
    image = Image.new("RGB", (width, height))
    theirs = np.array(
        [transforms.RandomResizedCrop.get_params(image, views.SCALES[family], (3 / 4, 4 / 3)) for _ in range(3000)]
    )
    ours = np.array([draw_crop(family, 0, "a.jpg", view, width, height) for view in range(3000)])
    for column in range(4):
        assert stats.ks_2samp(theirs[:, column], ours[:, column]).pvalue > 1e-3
    area = stats.ks_2samp(theirs[:, 2] * theirs[:, 3], ours[:, 2] * ours[:, 3])
    assert area.pvalue > 1e-3
    assert stats.binomtest(int(ours[:, 4].sum()), 3000).pvalue > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 2), (1000, 10)])
def test_crops_lie_inside_images_of_any_shape(size):
    for family in views.SCALES:
        for view in range(200):
            crop = draw_crop(family, 0, "x", view, *size)
            assert crop.height >= 1
            assert crop.width >= 1
            assert 0 <= crop.top <= size[1] - crop.height
            assert 0 <= crop.left <= size[0] - crop.width


def test_too_long_images_get_torchvisions_central_crop():
    torch.manual_seed(0)
    for size in ((1000, 10), (10, 1000)):
        theirs = transforms.RandomResizedCrop.get_params(Image.new("RGB", size), (0.9, 1.0), (3 / 4, 4 / 3))
        assert draw_crop("rrc50", 0, "x", 0, *size)[:4] == tuple(theirs)


def test_a_view_depends_on_its_own_key_alone():
    def crop(**changes):
        given = {"family": "rrc08", "seed": 1, "path": "a/b.jpg", "view": 3, **changes}
        return draw_crop(**given, width=500, height=400)

    first = crop()
    crop(view=9)
    assert crop() == first  # whatever was drawn in between
    others = [crop(seed=2), crop(path="a/c.jpg"), crop(view=4), crop(family="rrc50")]
    assert len({first, *others}) == 5
    assert crop(path="été/Ω.jpg") != first


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_a_view_is_torchvisions_own_crop_resize_and_flip(flip, interpolation):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    cfg = {"size": 32, "interpolation": interpolation, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    made = make_view(image, Crop(5, 7, 30, 20, flip), cfg)
    cut = image.crop((7, 5, 27, 35)).resize((32, 32), getattr(Image.Resampling, interpolation.upper()))
    expected = np.asarray(cut, dtype=np.float64)[:, :: -1 if flip else 1] / 255
    expected = (expected - cfg["mean"]) / cfg["std"]
    np.testing.assert_allclose(made.numpy(), expected.transpose(2, 0, 1), atol=1e-6)


# ------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def setting(tmp_path, untrained):
    for k in range(40):
        path = tmp_path / "photos" / f"class {k % 2}" / f"{k:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)

    def make(shots=(1, 2), seeds=(1,), count=3, **more):
        return parse(
            {
                "experiment": "v",
                "backbones": [untrained],
                "id_datasets": [
                    {
                        "name": "photos",
                        "folder": str(tmp_path / "photos"),
                        "splits": {"train": 8, "val": 4},
                        "views": [{"family": "rrc50", "count": count, **more}],
                        "ood": {"far": ["noise"]},
                    }
                ],
                "methods": ["zero_shot"],
                "shots": list(shots),
                "seeds": list(seeds),
                "scores": ["mcm"],
            }
        )

    encode_images(tmp_path, Backbone(**untrained), make().datasets().__next__())
    return make


def encode(tmp_path, experiment):
    (backbone,), (dataset,) = experiment.backbones, experiment.id_datasets
    return store.read_views(encode_views(tmp_path, experiment, backbone, dataset, dataset.views[0]))


def test_the_images_of_all_draws_have_views(tmp_path, setting):
    found = encode(tmp_path, setting(seeds=(1, 2)))
    train, val = (store.read_features(paths.features(tmp_path, "untrained", "photos", s)) for s in ("train", "val"))
    drawn = [fewshot.draw(train.labels, val.labels, k, seed).train for k in (1, 2) for seed in (1, 2)]
    assert found.index.tolist() == np.unique(np.concatenate(drawn)).tolist()
    assert found.image_features.shape == (len(found.index), 3, 16)
    assert found.provenance["views"] == {"family": "rrc50", "count": 3, "seed": 0, "local_features": False}


def test_any_view_can_be_made_again_alone(tmp_path, setting, untrained):
    found = encode(tmp_path, setting())
    loaded = backbones.load(Backbone(**untrained))
    train = store.read_features(paths.features(tmp_path, "untrained", "photos", "train"))
    row = 1
    name = train.paths[int(found.index[row])]
    image = Image.open(tmp_path / "photos" / name).convert("RGB")
    pixels = make_view(image, draw_crop("rrc50", 0, name, 2, *image.size), loaded.identity["preprocessing"])
    with torch.inference_mode():
        alone = loaded.encode_image(pixels[None].expand(64, -1, -1, -1))[0]
    np.testing.assert_allclose(found.image_features[row, 2], alone.numpy(), atol=1e-6)


def test_another_seed_encodes_its_own_images_only_and_changes_nothing(tmp_path, setting, monkeypatch):
    one = encode(tmp_path, setting(seeds=(1,)))
    encoded = []
    rows = views.encode_rows
    monkeypatch.setattr(views, "encode_rows", lambda chunks, *a: (encoded.append(len(chunks.images)), rows(chunks, *a)))
    both = encode(tmp_path, setting(seeds=(1, 2)))
    assert encoded == [3 * (len(both.index) - len(one.index))]
    place = np.searchsorted(both.index, one.index)
    np.testing.assert_array_equal(both.image_features[place], one.image_features)
    fresh = tmp_path / "fresh"
    encode_images(fresh, setting().backbones[0], setting().id_datasets[0])
    np.testing.assert_array_equal(encode(fresh, setting(seeds=(1, 2))).image_features, both.image_features)
    encoded.clear()
    again = encode(tmp_path, setting(seeds=(2,)))
    assert not encoded
    assert set(again.index) <= set(both.index)


def test_damaged_views_of_an_earlier_run_are_made_again(tmp_path, setting):
    before = encode(tmp_path, setting(seeds=(1,)))
    (kept,) = (tmp_path / "kept" / "views").rglob("*.h5")
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    after = encode(tmp_path, setting(seeds=(1,)))
    np.testing.assert_array_equal(before.image_features, after.image_features)
    assert store.read_views(kept).digest


def repaint(path):
    Image.fromarray(np.random.default_rng(99).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)


def test_views_of_an_image_that_has_changed_are_made_again(tmp_path, setting, untrained):
    before = encode(tmp_path, setting())
    train = paths.features(tmp_path, "untrained", "photos", "train")
    row = int(before.index[0])
    repaint(tmp_path / "photos" / store.read_features(train).paths[row])
    train.unlink()
    encode_images(tmp_path, Backbone(**untrained), next(setting().datasets()))
    after = encode(tmp_path, setting())
    assert (before.image_features[0] != after.image_features[0]).any()
    np.testing.assert_array_equal(before.image_features[1:], after.image_features[1:])


def test_views_and_features_are_of_the_same_image(tmp_path, setting):
    row = int(encode(tmp_path, setting()).index[0])
    shutil.rmtree(tmp_path / "kept" / "views")
    photo = (
        tmp_path / "photos" / store.read_features(paths.features(tmp_path, "untrained", "photos", "train")).paths[row]
    )
    repaint(photo)
    with pytest.raises(OodgridError, match=f"{photo.name} is not what it was when the training split was encoded"):
        encode(tmp_path, setting())


def test_a_training_image_that_is_gone_is_named(tmp_path, setting):
    (tmp_path / "photos" / "class 0").rename(tmp_path / "photos" / "class 9")
    with pytest.raises(OodgridError, match=r"class 0/.* is not what it was"):
        encode(tmp_path, setting())


def test_local_features_of_views(tmp_path, setting):
    found = encode(tmp_path, setting(local_features=True, count=2))
    assert found.local_features.shape == (len(found.index), 2, 16, 16)
    plain = encode(tmp_path, setting(count=2))
    np.testing.assert_array_equal(found.image_features, plain.image_features)


@pytest.fixture
def small_blocks(monkeypatch):
    """Chunks of five views, so that images of three lie across their borders; the largest array that was read."""
    read, sizes = store.read_arrays, []

    def arrays(path):
        values, info = read(path)
        sizes.extend(len(each) for name, each in values.items() if "features" in name)
        return values, info

    monkeypatch.setattr(work, "ROWS", 5)
    monkeypatch.setattr(work, "LOCAL_ROWS", 5)
    monkeypatch.setattr(views, "LOCAL_ROWS", 6)  # two images of three views
    monkeypatch.setattr(store, "read_arrays", arrays)
    return sizes


def contents(views_of_all):
    return [np.asarray(part) for part in (views_of_all.index, views_of_all.image_features, views_of_all.local_features)]


def test_views_are_the_same_in_chunks_in_shards_after_a_kill_and_from_parts(
    tmp_path, setting, small_blocks, monkeypatch
):
    """One undisturbed run is what all other ways must give, to the bit, and no step holds more than a chunk."""
    both = setting(seeds=(1, 2), local_features=True)
    with monkeypatch.context() as whole:
        whole.setattr(work, "ROWS", 2048)
        whole.setattr(work, "LOCAL_ROWS", 256)
        expected = encode(tmp_path, both)
    digest, arrays = expected.digest, contents(expected)
    assert len(arrays[0]) >= 6
    small_blocks.clear()

    def again(act):
        shutil.rmtree(tmp_path / "kept" / "views")
        act()
        after = encode(tmp_path, both)
        assert after.digest == digest
        for values, was in zip(contents(after), arrays, strict=True):
            np.testing.assert_array_equal(values, was)
        assert max(small_blocks) <= 5
        return after

    again(lambda: None)
    (backbone,), (dataset,) = both.backbones, both.id_datasets
    shards = [Shard(number, 3) for number in (3, 1, 2)]
    again(lambda: [encode_views(tmp_path, both, backbone, dataset, dataset.views[0], shard) for shard in shards])
    again(lambda: encode(tmp_path, setting(seeds=(2,), local_features=True)))  # two parts

    written = []
    write = Chunks.write

    def killed(self, start, chunk):
        if len(written) == 2:
            raise KeyboardInterrupt
        write(self, start, chunk)
        written.append(start)

    def interrupt():
        with monkeypatch.context() as other:
            other.setattr(Chunks, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                encode(tmp_path, both)

    finished = []
    monkeypatch.setattr(Chunks, "write", lambda self, start, chunk: (finished.append(start), write(self, start, chunk)))
    again(interrupt)
    assert not set(written) & set(finished)


def test_all_shards_done_leave_nothing_to_encode(tmp_path, setting, small_blocks, monkeypatch):
    experiment = setting()
    (backbone,), (dataset,) = experiment.backbones, experiment.id_datasets
    for number in (1, 2):
        assert encode_views(tmp_path, experiment, backbone, dataset, dataset.views[0], Shard(number, 2)) is None
    monkeypatch.setattr(Chunks, "write", lambda *args: pytest.fail("encoded again"))
    assert len(encode(tmp_path, experiment).index)


def test_a_file_that_is_one_part_takes_no_room_of_its_own(tmp_path, setting):
    one = setting(seeds=(1,))
    encode(tmp_path, one)
    (kept,) = (tmp_path / "kept" / "views").rglob("*.h5")
    (file,) = (tmp_path / "features").rglob("train.views-*.h5")
    assert file.samefile(kept)
    encode(tmp_path, setting(seeds=(1, 2)))
    assert len({path.stat().st_ino for path in (tmp_path / "features").rglob("train.views-*.h5")}) == 2
