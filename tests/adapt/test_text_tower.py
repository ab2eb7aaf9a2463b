"""The text tower on embeddings against open_clip's own text encoder, on a small CLIP with random weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from oodgrid import config, text_tower
from oodgrid.adapt.contract import Skip
from oodgrid.text_tower.plain import PlainTower
from tests.adapt.plain import whole_prompts

NAMES = ["fox", "sea otter", "three-toed sloth of the rain forest", "Labrador Retriever"]


def encoded_whole(tower, texts):
    """Encode texts by open_clip's own `encode_text`, all 77 tokens of them, normalised."""
    with torch.no_grad():
        return tower.loaded.model.encode_text(tower.loaded.tokenizer(texts), normalize=True).numpy()


def encoded(tower, context, names):
    with torch.no_grad():
        return tower.encode(context, tower.prompts(names)).numpy()


@pytest.mark.parametrize("context", ["a photo of a", "x", "a very bad photo of the big, big"])
def test_the_embedded_tokens_of_a_context_give_the_embeddings_of_the_whole_text(tower, context):
    expected = encoded_whole(tower, [f"{context} {name}." for name in NAMES])
    got = encoded(tower, tower.embed(context), NAMES)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 0.01, "the names must matter for this to say anything"


def test_names_are_encoded_alike_alone_and_beside_longer_ones(tower):
    context = tower.embed("a photo of a")
    together = encoded(tower, context, NAMES)
    for row, name in enumerate(NAMES):
        np.testing.assert_allclose(encoded(tower, context, [name])[0], together[row], rtol=0, atol=1e-6)


def test_the_order_of_classes_does_not_matter(tower):
    context = tower.embed("a photo of a")
    np.testing.assert_allclose(
        encoded(tower, context, NAMES[::-1])[::-1], encoded(tower, context, NAMES), rtol=0, atol=1e-6
    )


def test_underscores_are_spaces(tower):
    context = tower.embed("a photo of a")
    np.testing.assert_array_equal(encoded(tower, context, ["sea_otter"]), encoded(tower, context, ["sea otter"]))


def test_embed_is_the_table_at_the_tokens_between_start_and_end(tower):
    ids = tower.loaded.tokenizer(["a photo of a"])[0].tolist()
    assert ids[0] == 49406
    assert ids[5] == 49407
    np.testing.assert_array_equal(tower.embed("a photo of a"), tower.loaded.model.token_embedding.weight[ids[1:5]])
    assert tower.width == 64


def test_prompts_end_with_a_full_stop_and_the_end_token(tower):
    prompts = tower.prompts(["fox", "sea otter"])
    assert [len(ids) for ids in prompts.ids] == [3, 4]  # fox . end; sea otter . end
    assert prompts.name_lengths == [1, 2]
    assert prompts.start == 49406
    assert {ids[-1] for ids in prompts.ids} == {49407}


def test_cut_prompts_equal_whole_ones_in_value_and_in_gradient(tower):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 64, generator=generator)
    weights = torch.randn(len(NAMES), 16, generator=generator)
    results = []
    for encode in (
        lambda context: tower.encode(context, tower.prompts(NAMES)),
        lambda context: whole_prompts(tower, context, NAMES),
    ):
        context = start.clone().requires_grad_(True)
        embeddings = encode(context)
        (weights * embeddings).sum().backward()
        results.append((embeddings.detach().numpy(), context.grad.numpy()))
    (got, got_gradient), (expected, expected_gradient) = results
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    assert np.abs(expected_gradient).max() > 1e-3
    np.testing.assert_allclose(got_gradient, expected_gradient, rtol=0, atol=1e-5 * np.abs(expected_gradient).max())


def test_prompts_that_fill_the_tower_to_its_last_token(tower):
    room = 77 - 1 - 3  # start, and the three tokens of "fox." with its end
    got = encoded(tower, torch.zeros(room, 64), ["fox"])
    assert got.shape == (1, 16)
    with pytest.raises(Skip, match="the longest prompt has 78 tokens, the text tower takes 77"):
        tower.encode(torch.zeros(room + 1, 64), tower.prompts(["fox"]))


def test_a_shorter_text_tower(tmp_path):
    """The same on a tower of 24 positions with another width, as the project's own tiny CLIP has fewer than 77."""
    import open_clip

    sizes = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    (tmp_path / "short-clip.json").write_text(json.dumps(sizes))
    open_clip.add_model_config(tmp_path / "short-clip.json")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        torch.save(open_clip.create_model("short-clip").state_dict(), tmp_path / "weights.pt")
    short = text_tower.load(config.Backbone(name="short", model="short-clip", pretrained=str(tmp_path / "weights.pt")))
    expected = encoded_whole(short, [f"a photo of a {name}." for name in NAMES])
    np.testing.assert_allclose(encoded(short, short.embed("a photo of a"), NAMES), expected, rtol=0, atol=1e-6)
    with pytest.raises(Skip, match="the text tower takes 24"):
        short.encode(torch.zeros(30, 32), short.prompts(["fox"]))


def test_the_logit_scale_is_the_exponential_of_what_was_learned(tower):
    assert tower.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)


SMALL_TEXT = {"context_length": 30, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
ARCHITECTURES = {
    "quick-gelu": ({"quick_gelu": True}, {}, "CausalTower"),
    "layer-scale": ({}, {"ls_init_value": 0.5}, "CausalTower"),
    "custom-text-causal": ({"custom_text": True}, {}, "CausalTower"),
    "projection-with-bias": ({"custom_text": True}, {"proj_bias": True}, "CausalTower"),
    "no-projection": ({"custom_text": True}, {"proj_type": "none", "width": 8}, "CausalTower"),
    "no-causal-mask": ({"custom_text": True}, {"no_causal_mask": True}, "PlainTower"),
    "last-token": ({"custom_text": True}, {"no_causal_mask": True, "pool_type": "last"}, "PlainTower"),
    "class-token": ({"custom_text": True}, {"embed_cls": True, "pool_type": "last"}, "PlainTower"),
}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request, tmp_path):
    """Return the small tower of one kind, random but with tokens that differ, and the way it should take."""
    import open_clip

    model, text, way = ARCHITECTURES[request.param]
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    sizes = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": {**SMALL_TEXT, **text}, **model}
    name = f"small-{request.param}"
    (tmp_path / f"{name}.json").write_text(json.dumps(sizes))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    entry = config.Backbone(
        name="small", model=name, pretrained="random", model_config_file=str(tmp_path / f"{name}.json")
    )
    tower = text_tower.load(entry)
    tower.part.token_embedding.weight.mul_(20)
    tower.part.positional_embedding.mul_(20)
    return tower, way


def test_every_kind_of_tower_gives_what_its_own_code_gives(architecture):
    """The fast way and the plain one: `encode_text` of the whole text, for a context that is text."""
    tower, way = architecture
    assert type(tower).__name__ == way
    assert (tower.note is None) == (way == "CausalTower")
    names = ["fox", "sea_otter", "three-toed sloth"]
    expected = encoded_whole(tower, [f"a photo of a {name.replace('_', ' ')}." for name in names])
    got = encoded(tower, tower.embed("a photo of a"), names)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("specific", [False, True])
def test_both_ways_agree_in_value_and_in_gradient(architecture, position, specific):
    tower, _ = architecture
    names = ["fox", "(bird of prey) kite", "St. Bernard"]
    generator = torch.Generator().manual_seed(0)
    start = torch.randn((3, 4, tower.width) if specific else (4, tower.width), generator=generator)
    weights = torch.randn(3, 8, generator=generator)
    results = []
    for each in (tower, PlainTower(tower.loaded)):
        context = start.clone().requires_grad_(True)
        embeddings = each.encode(context, each.prompts(names, position))
        (weights * embeddings).sum().backward()
        results.append((embeddings.detach().numpy(), context.grad.numpy()))
    (got, gradient), (expected, wanted) = results
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 1e-4


def test_a_gap_that_holds_its_own_token_is_the_whole_text_and_both_ways_agree(architecture):
    tower, _ = architecture
    words = ["fox", "sea_otter", "three-toed sloth"]
    rows, weights = [2, 0, 1, 0], torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    expected = encoded_whole(tower, [f"a photo of a {word.replace('_', ' ')}." for word in words])[rows]
    moved = torch.randn(4, tower.width, generator=torch.Generator().manual_seed(1))
    results = []
    for each in (tower, PlainTower(tower.loaded)):
        gapped = each.gapped("a photo of a {}.", words)
        filled = each.filled(gapped, rows)
        np.testing.assert_allclose(filled(each.at_gaps(gapped)[rows]).detach(), expected, rtol=0, atol=1e-6)
        vectors = moved.clone().requires_grad_(True)
        features = filled(vectors)
        (weights * features).sum().backward()
        results.append((features.detach().numpy(), vectors.grad.numpy()))
    (got, gradient), (wanted, wanted_gradient) = results
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=0, atol=1e-5 * np.abs(wanted_gradient).max())
    assert np.abs(wanted_gradient).max() > 1e-4


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_names_that_end_in_a_parenthesis_are_cut_as_in_coop_s_code(tower, position):
    """The tokenizer makes one token of ")."; the code counts the tokens of the name alone and gives it to the name."""
    names = ["kite (bird of prey)", "fox"]
    context = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got = tower.encode(context, tower.prompts(names, position))
        expected = whole_prompts(tower, context, names, position)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_contexts_together_are_contexts_alone(architecture):
    tower, _ = architecture
    contexts = torch.randn(3, 2, tower.width, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    prompts = tower.prompts(["fox", "sea otter"])
    together = tower.encode_each(contexts, prompts)
    alone = torch.stack([tower.encode(context, prompts) for context in contexts])
    np.testing.assert_allclose(together.detach(), alone.detach(), rtol=0, atol=1e-6)
    gradients = [torch.autograd.grad((x**2 * x).sum(), contexts)[0].numpy() for x in (together, alone)]
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-5 * np.abs(gradients[1]).max())


@pytest.mark.parametrize("room", [1, 9, 14])
def test_little_room_changes_nothing(tower, room, monkeypatch):
    """Classes, or images, that do not fit into memory together pass in parts whose activations are made twice."""
    contexts = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(2))
    prompts = tower.prompts(NAMES)
    results = []
    for given in (10**6, room):
        monkeypatch.setattr(tower, "_room", given)
        leaf = contexts.clone().requires_grad_(True)
        whole, each = tower.encode(leaf[0], prompts), tower.encode_each(leaf, prompts)
        ((whole**3).sum() + (each**3).sum()).backward()
        results.append([whole.detach().numpy(), each.detach().numpy(), leaf.grad.numpy()])
    for roomy, narrow in zip(*results, strict=True):
        np.testing.assert_allclose(narrow, roomy, rtol=0, atol=2e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_less_precision_in_the_layers_alone(tower, precision):
    context = tower.embed("a photo of a").clone().requires_grad_(True)
    exact, rough = (t.encode(context, tower.prompts(NAMES)) for t in (tower, tower.at(precision)))
    assert rough.dtype == torch.float32
    assert 1e-6 < (exact - rough).abs().max().item() < 0.05
    np.testing.assert_allclose(rough.norm(dim=1).detach(), 1, atol=1e-6)
    rough.sum().backward()
    assert context.grad.dtype == torch.float32
    assert tower.precision == "fp32"


def test_an_image_only_backbone_has_no_text_tower(tower):
    with pytest.raises(Skip, match="backbone mini has no text tower"):
        text_tower.of(replace(tower.loaded, tokenizer=None))


@pytest.mark.parametrize("plain", [False, True])
def test_a_context_that_pushes_names_beyond_the_end_is_refused(tower, plain):
    """The official code cuts them without a word, and classes end with one embedding."""
    tower = PlainTower(tower.loaded) if plain else tower
    names = ["fox", " ".join(["sea"] * 60)]
    prompts = tower.prompts(names)
    with torch.no_grad():
        assert tower.encode(torch.zeros(4, tower.width), prompts).shape[0] == 2
        with pytest.raises(Skip, match="context tokens"):
            tower.encode(torch.zeros(16, tower.width), prompts)
    with pytest.raises(Skip, match="too long for the 77 tokens"):
        tower.prompts(["fox", " ".join(["sea"] * 100)])
    with pytest.raises(Skip, match="'sea_otter' and 'Sea Otter' are one text"):
        tower.prompts(["sea_otter", "fox", "Sea Otter"])
