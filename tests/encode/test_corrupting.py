"""Corruptions against loops in plain Python, and files of corrupted test images."""

from __future__ import annotations

import colorsys
import io
import math

import numpy as np
import pytest
from PIL import Image

from oodgrid import store
from oodgrid.config import parse
from oodgrid.corruptions import NAMES, QUALITY, SEVERITIES, Corruption
from oodgrid.encode.corrupting import corrupt, corrupted, digital, edges, generator
from oodgrid.encode.corrupting.blur import moved
from oodgrid.encode.corrupting.weather import plasma
from oodgrid.errors import OodgridError


def picture(width=40, height=40, seed=0):
    """A smooth picture with some noise: neither flat nor saturated."""
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(height)[:, None, None] / 7) + np.cos(np.arange(width)[:, None] / 5 + np.arange(3))
    return Image.fromarray((120 + 40 * waves + rng.integers(-20, 20, (height, width, 3))).astype(np.uint8))


def levels(values):
    """Numbers in [0, 1] as ImageNet-C keeps them: cut off, not rounded."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_every_corruption_takes_any_size_and_is_stronger_the_more_severe(name):
    image = picture(61, 40)
    distances = []
    for severity in SEVERITIES:
        made = corrupt(image, name, severity, np.random.default_rng(1))
        assert made.dtype == np.uint8
        assert made.shape == (40, 61, 3)
        assert np.array_equal(made, corrupt(image, name, severity, np.random.default_rng(1)))
        distances.append(np.abs(made - np.asarray(image, float)).mean())
    assert min(distances) > 0.3
    milder_at_first = ("saturate", "elastic_transform", "spatter", "glass_blur", "snow")  # as published
    assert name in milder_at_first or distances == sorted(distances)


@pytest.mark.parametrize("value", [0, 255, 77])
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_one_colour_is_no_exception(name, value):
    for severity in (1, 5):
        made = corrupt(Image.new("RGB", (32, 32), (value,) * 3), name, severity, np.random.default_rng(0))
        assert made.shape == (32, 32, 3)  # warnings are errors here: nothing is divided by 0


def test_noises_are_the_numbers_drawn():
    image, x = picture(), np.asarray(picture(), float) / 255

    def draws():
        return np.random.default_rng(3)

    expected = {
        "gaussian_noise": x + draws().normal(size=x.shape, scale=0.18),
        "speckle_noise": x * (1 + draws().normal(size=x.shape, scale=0.35)),
        "shot_noise": draws().poisson(x * 12) / 12,
    }
    for name, values in expected.items():
        different = np.abs(corrupt(image, name, 3, draws()).astype(int) - levels(values))
        assert different.max() <= 1, name
        assert (different > 0).mean() < 1e-3, name
    struck = (corrupt(image, "impulse_noise", 3, draws()) != np.asarray(image)).mean()
    assert struck == pytest.approx(0.09, abs=0.02)


def test_colours_go_by_hue_saturation_and_value():
    image = picture()
    raised, faded = (corrupt(image, name, 1, np.random.default_rng(0)) for name in ("brightness", "saturate"))
    for row, column in np.ndindex(8, 8):
        h, s, v = colorsys.rgb_to_hsv(*(np.asarray(image)[row, column] / 255))
        for made, hsv in ((raised, (h, s, min(v + 0.1, 1))), (faded, (h, 0.3 * s, v))):
            assert np.abs(made[row, column] - 255 * np.array(colorsys.hsv_to_rgb(*hsv))).max() < 1 + 1e-9


def test_contrast_jpeg_and_pixelate_are_their_definitions():
    image, x = picture(), np.asarray(picture(), float) / 255
    rng = np.random.default_rng(0)
    means = [x[..., channel].mean() for channel in range(3)]
    assert np.array_equal(corrupt(image, "contrast", 2, rng), levels((x - means) * 0.3 + means))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=10)
    assert np.array_equal(corrupt(image, "jpeg_compression", 4, rng), np.asarray(Image.open(file)))
    coarse = corrupt(picture(40, 40), "pixelate", 5, rng)  # blocks of 4 x 4
    assert np.array_equal(coarse, np.repeat(np.repeat(coarse[::4, ::4], 4, axis=0), 4, axis=1))
    block = np.asarray(image, float)[:4, :4].mean(axis=(0, 1))
    assert np.abs(coarse[0, 0] - block).max() <= 0.5 + 1e-9


def test_a_blur_by_motion_is_a_weighted_mean_along_a_line():
    pixels = np.asarray(picture(30, 20))
    made = moved(pixels, 3, 2.0, 30.0)
    weights = [math.exp(-(step**2) / 8) for step in range(7)]
    for row, column in ((0, 0), (10, 10), (19, 29)):
        total = 0.0
        for step, weight in enumerate(weights):
            down, right = (math.ceil(step * f(math.radians(30)) - 0.5) for f in (math.sin, math.cos))
            total += weight / sum(weights) * pixels[min(row + down, 19), min(column + right, 29)].astype(float)
        assert np.array_equal(made[row, column], np.floor(257 * total + 0.5) // 257)


def test_defocus_is_the_mean_over_a_disk():
    x = np.asarray(picture(), float) / 255
    made = corrupt(picture(), "defocus_blur", 1, np.random.default_rng(0))
    disk = [(a, b) for a in range(-3, 4) for b in range(-3, 4) if a * a + b * b <= 9]
    for row, column in ((20, 20), (10, 30)):
        mean = np.mean([x[row + a, column + b] for a, b in disk], axis=0)
        assert np.abs(made[row, column] - 255 * mean).max() < 1 + 1e-4


def test_glass_takes_pixels_one_after_the_other():
    rng = np.random.default_rng(5)
    x = np.asarray(picture(), float) / 255
    from scipy.ndimage import gaussian_filter

    blurred = (gaussian_filter(x, (0.7, 0.7, 0), mode="nearest") * 255).astype(np.uint8)
    for _ in range(2):
        steps = iter(rng.integers(-1, 1, size=(38 * 38, 2)))
        for row in range(39, 1, -1):
            for column in range(39, 1, -1):
                right, down = next(steps)
                blurred[row, column] = blurred[row + down, column + right]
    expected = levels(gaussian_filter(blurred / 255.0, (0.7, 0.7, 0), mode="nearest"))
    assert np.array_equal(corrupt(picture(), "glass_blur", 1, np.random.default_rng(5)), expected)


def test_distances_are_the_shortest_walks_of_a_chamfer():
    marked = np.zeros((12, 15), bool)
    marked[3, 4] = marked[9, 13] = True
    steps = [(1, 0, 1.0), (1, 1, 1.4), (1, 2, 2.1969)]
    moves = {(s * a, t * b, c) for p, q, c in steps for a, b in ((p, q), (q, p)) for s in (1, -1) for t in (1, -1)}
    far = np.where(marked, 0.0, np.inf)
    for _ in range(20):  # Bellman-Ford
        for row, column in np.ndindex(far.shape):
            for down, right, cost in moves:
                r, c = row + down, column + right
                if 0 <= r < 12 and 0 <= c < 15:
                    far[row, column] = min(far[row, column], far[r, c] + cost)
    np.testing.assert_allclose(edges.distances_to(marked), far, atol=1e-3)
    assert edges.distances_to(np.zeros((4, 4), bool)).min() > 20


def test_an_edge_is_found_where_a_square_ends():
    grey = np.zeros((20, 20), np.uint8)
    grey[5:15, 5:15] = 200
    found = edges.edges(grey, 50, 150)
    assert not found[8:12, 8:12].any()
    assert not found[:3].any()
    assert found[8:12, 3:7].any(axis=1).all()  # one pixel or more on each side
    assert not edges.edges(np.full((9, 9), 7, np.uint8), 50, 150).any()


def test_levels_are_spread_evenly_and_one_level_stays():
    values = np.repeat(np.array([10, 20, 30, 40], np.uint8), 4).reshape(4, 4)
    assert edges.equalised(values).ravel()[::4].tolist() == [0, 85, 170, 255]
    assert np.array_equal(edges.equalised(np.full((3, 3), 9, np.uint8)), np.full((3, 3), 9))


def test_a_cloud_of_two_steps_is_its_definition():
    made, rng, noise = plasma(2, 3.0, np.random.default_rng(2)), np.random.default_rng(2), 100.0
    corner = 0.0
    middle = 4 * corner / 4 + noise * rng.uniform(-noise, noise)
    top = (2 * middle + 2 * corner) / 4 + noise * rng.uniform(-noise, noise)
    left = (2 * middle + 2 * corner) / 4 + noise * rng.uniform(-noise, noise)
    expected = np.array([[corner, top], [left, middle]])
    expected -= expected.min()
    np.testing.assert_allclose(made, expected / expected.max(), rtol=1e-12)


def test_a_warp_by_whole_pixels_moves_the_image():
    image = (np.asarray(picture(), float) / 255).astype(np.float32)
    points = np.array([[1.0, 1], [5, 2], [3, 9]])
    np.testing.assert_allclose(digital._warped(image, points, points), image, atol=1e-7)
    moved_by = digital._warped(image, points, points + np.array([3, 2]))  # right and down
    np.testing.assert_allclose(moved_by[2:, 3:], image[:-2, :-3], atol=1e-6)
    np.testing.assert_allclose(moved_by[0, 5], image[2, 2], atol=1e-6)  # mirrored at the border


def test_the_noise_belongs_to_the_image_and_the_corruption():
    fog = Corruption("fog", 3)
    first = np.asarray(corrupted(picture(), fog, "a/b.png"))
    corrupted(picture(), fog, "other.png")
    assert np.array_equal(np.asarray(corrupted(picture(), fog, "a/b.png")), first)  # whatever came in between
    others = [(fog, "a/c.png"), (Corruption("fog", 3, 1), "a/b.png"), (Corruption("fog", 2), "a/b.png")]
    draws = {generator(*each).random() for each in [(fog, "a/b.png"), *others, (fog, "é\udce9")]}
    assert len(draws) == 5
    file = io.BytesIO()
    Image.fromarray(corrupt(picture(), "fog", 3, generator(fog, "a/b.png"))).save(file, "JPEG", quality=QUALITY)
    assert np.array_equal(np.asarray(Image.open(file)), first)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("fog", "a corruption is written with its severity, as fog-1 to fog-5, not fog"),
        ("fog-6", "a corruption is written with its severity"),
        ("fogg-1", "unknown corruption 'fogg': did you mean 'fog'"),
        ("frost-1", "frost lays photographs over images that are not shipped here"),
    ],
)
def test_what_is_no_corruption_is_refused_in_a_line(word, said):
    with pytest.raises(OodgridError, match=said):
        Corruption.parse(word)


# ------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def setting(tmp_path, untrained):
    pytest.importorskip("torch")
    for k in range(10):
        path = tmp_path / "photos" / f"class {k % 2}" / f"{k:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(60, 50, k).save(path)
    experiment = parse(
        {
            "experiment": "mini",
            "backbones": [untrained],
            "id_datasets": [
                {
                    "name": "photos",
                    "folder": str(tmp_path / "photos"),
                    "splits": {"train": 1, "val": 1},
                    "ood": {"far": [{"name": "more", "folder": str(tmp_path / "photos"), "class_folder": "none"}]},
                    "allow_overlap": True,
                }
            ],
            "methods": ["zero_shot"],
            "shots": [1],
            "seeds": [1],
            "scores": ["mcm", {"name": "cover", "corruptions": ["gaussian_noise-1", "contrast-5"]}],
        }
    )
    return tmp_path / "results", experiment


@pytest.fixture
def encoded(setting):
    from oodgrid.encode.corrupted import encode_corrupted
    from oodgrid.encode.images import encode_images

    results, experiment = setting
    backbone, dataset = experiment.backbones[0], experiment.id_datasets[0]
    encode_images(results, backbone, dataset)
    noise, contrast = Corruption("gaussian_noise", 1), Corruption("contrast", 5)
    return results, experiment, [encode_corrupted(results, backbone, dataset, each) for each in (noise, contrast)]


def test_a_file_has_the_rows_of_the_test_split_and_says_what_was_done(encoded):
    from oodgrid import backbones
    from oodgrid.encode.preprocessing import open_picture
    from oodgrid.encode.sources import open_split

    _, experiment, (file, other) = encoded
    assert file.name == "test.gaussian_noise-1-seed0.h5"
    whole, part = store.read_features(file.with_name("test.h5")), store.read_features(file)
    assert list(part.paths) == list(whole.paths)
    assert np.array_equal(part.sha256, whole.sha256)
    assert np.array_equal(part.labels, whole.labels)
    assert part.provenance["corruption"] == {
        "name": "gaussian_noise", "severity": 1, "seed": 0, "jpeg_quality": 85, "version": 1,
    }  # fmt: skip
    assert not np.allclose(part.image_features, whole.image_features, atol=1e-4)
    assert not np.allclose(part.image_features, store.read_features(other).image_features, atol=1e-4)

    loaded = backbones.load(experiment.backbones[0])
    images = open_split(experiment.id_datasets[0], "test")
    picked = open_picture(images.read(2), "here", loaded.identity["preprocessing"], False)
    *steps, to_numbers, normalise = loaded.preprocess.transforms
    for step in steps:  # resized and cut before it is corrupted
        picked = step(picked)
    pixels = normalise(to_numbers(corrupted(picked, Corruption("gaussian_noise", 1), images.paths[2])))
    expected = loaded.encode_image(pixels[None]).detach().numpy()[0]
    np.testing.assert_allclose(part.image_features[2], expected, rtol=1e-3, atol=1e-5)


def test_a_file_is_found_again_and_verified_and_another_meaning_is_refused(encoded):
    from oodgrid import plan
    from oodgrid.encode.corrupted import encode_corrupted
    from oodgrid.encode.verifying import check_sources

    results, experiment, (file, _) = encoded
    before = file.read_bytes()
    file.unlink()
    encode_corrupted(results, experiment.backbones[0], experiment.id_datasets[0], Corruption("gaussian_noise", 1))
    assert file.read_bytes() == before
    assert "size and time of before" in check_sources(file)
    plan.check_identities(results, experiment)
    assert file in plan.encoded_files(results, experiment)
    file.with_name("test.contrast-5-seed0.h5").replace(file)
    with pytest.raises(OodgridError, match=r"corruption\.name"):
        plan.check_identities(results, experiment)


def test_files_of_other_images_are_refused_by_scores(encoded):
    from oodgrid.score.inputs import read_samples

    _, _, (file, _) = encoded
    noise = Corruption("gaussian_noise", 1)
    assert list(read_samples("photos", file.with_name("test.h5"), [noise]).corrupted) == [noise.split]
    part = store.read_features(file)
    store.write_features(
        file, store.NewFeatures(part.image_features, part.labels, part.paths[::-1], part.sha256, part.provenance)
    )
    with pytest.raises(OodgridError, match=r"is not of the images of .*test\.h5"):
        read_samples("photos", file.with_name("test.h5"), [noise])
    file.unlink()
    assert not read_samples("photos", file.with_name("test.h5"), [noise]).corrupted
    with pytest.raises(OodgridError, match=r"seed0\.h5 is missing: oodgrid encode corrupted makes it$"):
        read_samples("photos", file.with_name("test.h5"), [noise], made=[file])


def test_only_images_that_are_encoded_here_are_corrupted():
    from oodgrid import plan

    imported = {"name": "mine", "imported": {}, "classnames": ["a", "b"], "ood": {"far": ["noise"]}}
    experiment = parse(
        {
            "experiment": "mini", "backbones": ["tiny"], "id_datasets": [imported], "methods": ["zero_shot"],
            "shots": [1], "seeds": [1], "scores": [{"name": "cover", "corruptions": ["fog-1"]}],
        }
    )  # fmt: skip
    assert [each.name for each in plan.corruptible(experiment.datasets())] == ["noise"]
