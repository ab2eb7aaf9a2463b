from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oodgrid.encode import concept_world
from oodgrid.encode.concept_world import COLOURS, GROUPS, SHAPES, SPLITS, concepts
from tests.failing import failure

SETS = {
    "concepts": lambda seed: concepts("id", "test", 2, seed=seed),
    "by moonlight": lambda seed: concepts("id", "test", 2, light="moon", seed=seed),
    "captioned": lambda seed: concept_world.captioned(40, seed),
    "textures": lambda seed: concept_world.textures(24, seed),
    "noise": lambda seed: concept_world.noise(24, seed),
}

# The first three training images. If these change, the shipped weights no longer fit and must be trained again.
CAPTIONS = ["a image of the checkered purple circle.", "a striped purple ring", "itap of a yellow hexagon."]
MEANS = [106.03, 125.53, 185.52]
# Red, green and blue of 48 images of benchmarks. If these change, the accuracies of docs/toy-world.md no longer hold.
BENCHMARK_MEANS = {"warm": [135.96, 107.97, 77.83], "moon": [65.65, 75.64, 118.61]}


def attributes(group, position):
    return {name.split()[position] for name in GROUPS[group]}


def fingerprints(images):
    return {image.tobytes() for image in images}


def difference(shifted, clean):
    return np.abs(shifted.images.astype(float) - clean.images).mean()


@pytest.mark.parametrize("make", SETS.values(), ids=SETS)
def test_shapes_and_types(make):
    made = make(0)
    n = len(made.labels)
    assert made.images.shape == (n, 48, 48, 3)
    assert made.images.dtype == np.uint8
    assert made.labels.dtype == np.int32
    assert len(made.captions) == len(made.names) == n
    assert len(set(made.names)) == n
    assert len(fingerprints(made.images)) == n


@pytest.mark.parametrize("make", SETS.values(), ids=SETS)
def test_same_seed_same_bytes_and_another_seed_other_images(make):
    first, again, other = make(0), make(0), make(1)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.captions == again.captions
    assert first.names == again.names
    assert not fingerprints(first.images) & fingerprints(other.images)


def test_an_image_does_not_depend_on_how_many_are_made():
    few, many = concepts("id", "val", 1), concepts("id", "val", 3)
    np.testing.assert_array_equal(few.images, many.images[::3])
    assert few.captions == many.captions[::3]
    assert few.names == many.names[::3]


@pytest.mark.parametrize("make", [concept_world.captioned, concept_world.textures, concept_world.noise])
def test_a_longer_set_begins_with_the_shorter_one(make):
    np.testing.assert_array_equal(make(7, 3).images, make(12, 3).images[:7])


def test_a_set_looks_as_it_did_when_the_shipped_weights_were_trained():
    made = concept_world.captioned(3, 1)
    assert made.captions == CAPTIONS
    np.testing.assert_allclose(made.images.mean((1, 2, 3)), MEANS, atol=0.5)


@pytest.mark.parametrize("light", concept_world.LIGHTS)
def test_benchmarks_look_as_they_did_when_their_accuracies_were_measured(light):
    benchmark = concepts("id", "test", 2, light=light)
    np.testing.assert_allclose(benchmark.images.mean((0, 1, 2)), BENCHMARK_MEANS[light], atol=0.2)


def test_another_light_shows_the_same_scenes_and_changes_nothing_but_colours():
    warm, moonlit = (concepts("unseen_shapes", "test", 2, light=light) for light in ("warm", "moon"))
    assert (warm.names, warm.captions) == (moonlit.names, moonlit.captions)
    np.testing.assert_array_equal(warm.labels, moonlit.labels)
    np.testing.assert_array_equal(concepts("unseen_shapes", "test", 2).images, warm.images)
    ratio = np.divide(concept_world.LIGHTS["moon"], concept_world.LIGHTS["warm"])
    unclipped = (moonlit.images > 40) & (warm.images > 40) & (warm.images < 250) & (moonlit.images < 250)
    apart = np.abs(moonlit.images - warm.images * ratio)[unclipped]  # grain is added to both after the light
    assert apart.mean() < 6


def test_splits_are_disjoint():
    sets = [concepts("id", split, 3) for split in SPLITS]
    images = [fingerprints(made.images) for made in sets]
    names = [set(made.names) for made in sets]
    assert len(set.union(*images)) == len(set.union(*names)) == 3 * len(sets[0].names)


@pytest.mark.parametrize("group", GROUPS)
def test_labels_captions_and_names_agree(group):
    made = concepts(group, "train", 2)
    np.testing.assert_array_equal(made.labels, np.repeat(np.arange(len(GROUPS[group])), 2))
    for label, caption, name in zip(made.labels, made.captions, made.names, strict=True):
        classname = GROUPS[group][label]
        assert classname in caption
        assert f"{group}/train/{classname.replace(' ', '-')}/" in name


def test_groups_keep_their_semantic_distance():
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
    assert len(GROUPS["id"]) == 24
    for position in (0, 1):
        assert attributes("unseen_combinations", position) == attributes("id", position)
        assert not attributes("unseen_both", position) & attributes("id", position)
    assert attributes("unseen_shapes", 0) == attributes("id", 0)
    assert not attributes("unseen_shapes", 1) & attributes("id", 1)


def test_every_id_word_occurs_equally_often():
    for position in (0, 1):
        words = [name.split()[position] for name in GROUPS["id"]]
        assert {words.count(word) for word in words} == {4}


def test_captions_for_training_name_every_shape_and_colour_and_only_what_is_there():
    made = concept_world.captioned(400)
    words = [set(caption.rstrip(".").replace(",", "").split()) for caption in made.captions]
    assert set().union(*words) >= {*SHAPES, *COLOURS, *concept_world.BACKGROUNDS}
    assert all(len(said & set(SHAPES)) == len(said & set(COLOURS)) == 1 for said in words)
    assert len(set(made.captions)) > 200
    assert set(made.labels) == {-1}


@pytest.mark.parametrize("colour, channel", [("red", 0), ("green", 1), ("blue", 2)])
def test_the_colour_word_is_the_colour_in_the_image(colour, channel):
    label = GROUPS["id"].index(next(name for name in GROUPS["id"] if name.startswith(colour)))
    made = concepts("id", "train", 30)
    means = made.images[made.labels == label].mean((0, 1, 2)) - made.images.mean((0, 1, 2))
    assert means.argmax() == channel


@pytest.mark.parametrize("kind", ["blur", "noise", "contrast"])
def test_severity_zero_is_the_identity_and_more_severity_changes_more(kind):
    clean = concepts("id", "test", 2)
    np.testing.assert_array_equal(concepts("id", "test", 2, **{kind: 0}).images, clean.images)
    shifted = [concepts("id", "test", 2, **{kind: severity}) for severity in range(6)]
    changes = [difference(made, clean) for made in shifted]
    assert changes[0] == 0
    assert all(np.diff(changes) > 1)
    assert all(made.names == clean.names and made.captions == clean.captions for made in shifted)


def test_lost_contrast_narrows_the_range_around_grey():
    clean, flat = concepts("id", "test", 1).images, concepts("id", "test", 1, contrast=5).images
    np.testing.assert_allclose(flat - 127.5, 0.15 * (clean - 127.5), atol=0.51)


def test_noise_is_the_same_field_at_every_severity():
    clean = concepts("id", "test", 2).images.astype(float)
    weak, strong = (concepts("id", "test", 2, noise=severity).images - clean for severity in (1, 2))
    unclipped = (np.abs(clean - 127.5) < 40) & (np.abs(strong) < 80)
    np.testing.assert_allclose(strong[unclipped], 2 * weak[unclipped], atol=1.51)


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    made, source = concept_world.digits(), load_digits()
    assert made.images.shape == (1797, 48, 48, 3)
    np.testing.assert_array_equal(made.labels, source.target)
    np.testing.assert_array_equal(made.images, concept_world.digits().images)
    np.testing.assert_array_equal(made.images[..., 0], made.images[..., 2])
    small = made.images[..., 0].reshape(-1, 8, 6, 8, 6).mean((2, 4))
    assert np.corrcoef(small.ravel(), source.images.ravel())[0, 1] > 0.95


def test_far_sets_have_no_class_and_several_kinds():
    for made in (concept_world.textures(24), concept_world.noise(24)):
        assert set(made.labels) == {-1}
        assert len(set(made.captions)) == 6


def test_none_is_an_empty_set():
    made = concepts("id", "train", 0)
    assert made.images.shape == (0, 48, 48, 3)
    assert made.labels.shape == (0,)
    assert made.captions == made.names == []


def test_concepts_cannot_be_reassigned():
    with pytest.raises(dataclasses.FrozenInstanceError):
        concepts("id", "train", 1).labels = None


@pytest.mark.parametrize(
    "arguments, shift, message",
    [
        (("unseen_shape", "test", 1), {}, "unknown concept group 'unseen_shape': did you mean 'unseen_shapes'?"),
        (("id", "test", 1), {"light": "moonlight"}, "unknown light 'moonlight': did you mean 'moon'?"),
        (("id", "tests", 1), {}, "unknown split 'tests': did you mean 'test'?"),
        (("id", "test", 1), {"blur": 6}, "blur severity 6 does not exist: use a whole number from 0 to 5"),
        (("id", "test", 1), {"noise": -1}, "noise severity -1 does not exist"),
        (("id", "test", 1), {"contrast": 2.5}, "contrast severity 2.5 does not exist"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(arguments, shift, message):
    assert message in failure(concepts, *arguments, **shift)
