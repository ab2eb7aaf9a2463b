"""The text tower on embeddings against open_clip's own text encoder, on a small CLIP with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from oodgrid import config
from oodgrid.adapt import text_tower
from oodgrid.adapt.contract import Skip

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


def whole_length_embeddings(tower, context, names):
    """The prompts at all 77 positions, as CoOp's code runs them: tokens after the end token included."""
    model, rows = tower.loaded.model, []
    ends = []
    for name in names:
        ids = tower.loaded.tokenizer([f"{name}."])[0]
        embedded = model.token_embedding(ids)
        rows.append(torch.cat([embedded[:1], context, embedded[1 : 77 - len(context)]]))
        ends.append(ids.argmax().item() + len(context))
    x = torch.stack(rows) + model.positional_embedding
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    x = x[torch.arange(len(names)), ends] @ model.text_projection
    return torch.nn.functional.normalize(x, dim=-1)


def test_cut_prompts_equal_whole_ones_in_value_and_in_gradient(tower):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 64, generator=generator)
    weights = torch.randn(len(NAMES), 16, generator=generator)
    results = []
    for encode in (
        lambda context: tower.encode(context, tower.prompts(NAMES)),
        lambda context: whole_length_embeddings(tower, context, NAMES),
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
