from __future__ import annotations

import numpy as np
import pytest

from oodgrid import backbones, plan, store
from oodgrid.config import Backbone, Dataset
from oodgrid.encode.texts import encode_texts
from oodgrid.errors import OodgridError
from oodgrid.texts import SHUFFLED

torch = pytest.importorskip("torch")


def encoded(tmp_path, untrained, **dataset):
    path = encode_texts(tmp_path, Backbone(**untrained), Dataset(name="d", folder="nowhere", **dataset))
    assert path == tmp_path / "text/untrained/d.h5"
    return store.read_texts(path)


def test_texts_are_those_of_the_model_itself(tmp_path, untrained):
    names, templates = ["cat", "sea lion", "été"], ["a photo of a {}.", "{}", "{} and {}"]
    found = encoded(tmp_path, untrained, classnames=names, templates=templates)
    assert found.text_features.shape == (3, 3, 16)
    assert (found.classnames, found.templates) == (names, templates)
    loaded = backbones.load(Backbone(**untrained))
    for t, template in enumerate(templates):
        for k, name in enumerate(names):
            tokens = loaded.tokenizer([template.replace("{}", name)]).to(loaded.device)
            with torch.inference_mode():
                expected = loaded.model.encode_text(tokens, normalize=False)[0].cpu().numpy()
            np.testing.assert_allclose(found.text_features[t, k], expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(np.linalg.norm(found.text_features, axis=2), 1)


def test_names_and_templates_may_hold_braces(tmp_path, untrained):
    found = encoded(tmp_path, untrained, classnames=["{x}", "{0}"], templates=["a {} {of} {}", "{} {"])
    assert found.text_features.shape == (2, 2, 16)


def test_a_file_says_what_it_is(tmp_path, untrained):
    found = encoded(tmp_path, untrained, classnames=["cat", "dog"])
    said = found.provenance
    assert said["text"] == {
        "templates": ["a photo of a {}."],
        "given_classnames": ["cat", "dog"],
        "classnames": ["cat", "dog"],
    }
    assert said["encode_version"] == plan.ENCODE_VERSION
    assert said["normalised"] is False
    assert said["backbone"]["model"] == "test-tiny"


def test_names_come_from_the_images_where_none_are_given(tmp_path, untrained):
    world = Dataset(name="world", concept_world={"group": "id", "test": 1})
    found = store.read_texts(encode_texts(tmp_path, Backbone(**untrained), world))
    assert len(found.classnames) == 24
    assert found.provenance["text"]["given_classnames"] is None


def test_the_published_names_of_imagenet_have_their_two_pairs_of_one_name(tmp_path, untrained, capsys):
    """For parity: the classes are known by their folders, whatever they are called."""
    names = {"classnames": "package:real_sets/classes/imagenet-openai.txt", "classes": ["n03773504", "n04008634"]}
    missiles = Dataset(name="missiles", root="/nowhere", of="imagenet", **names)
    found = store.read_texts(encode_texts(tmp_path, Backbone(**untrained), missiles))
    assert found.classnames == ["missile", "missile"]
    assert (found.text_features[:, 0] == found.text_features[:, 1]).all()
    assert "no text tells two classes 'missile' apart (1 such name)" in capsys.readouterr().err


def test_without_names_it_is_one_line(tmp_path, untrained):
    with pytest.raises(OodgridError, match="noise has no class names"):
        encode_texts(tmp_path, Backbone(**untrained), Dataset(name="noise", generated={"kind": "noise", "images": 2}))


LONG = "a " * 30


def test_class_names_that_the_tower_cuts_are_refused(tmp_path, untrained):
    """Its 20 places hold 18 tokens of words: both classes would be the same text."""
    for names in (["cat", LONG + "dog"], [LONG + "cat", LONG + "dog"]):
        with pytest.raises(OodgridError, match="too long for the 20 tokens of the text tower of untrained"):
            encoded(tmp_path, untrained, classnames=names)
        with pytest.raises(OodgridError, match="too long for the 20 tokens"):
            encode_texts(
                tmp_path, Backbone(**untrained), Dataset(name="d", folder="nowhere", classnames=names), SHUFFLED
            )
    with pytest.raises(OodgridError, match="1 of 2 class names is too long"):  # by the second template alone
        encoded(tmp_path, untrained, classnames=["cat", "a " * 15], templates=["{}", "a photo of the nice {}"])
    assert not list(tmp_path.rglob("*.h5"))


def test_classes_that_are_one_text_are_refused(tmp_path, untrained):
    with pytest.raises(OodgridError, match="the classes 'Cat' and 'cat' are one text to untrained"):
        encoded(tmp_path, untrained, classnames=["Cat", "dog", "cat"])
