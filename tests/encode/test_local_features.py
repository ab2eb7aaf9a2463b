from __future__ import annotations

import json

import numpy as np
import pytest

from oodgrid import backbones, catalogue, store
from oodgrid.config import Backbone, Dataset
from oodgrid.encode.images import encode_images
from oodgrid.encode.local_features import check_local_features, encode_with_local
from oodgrid.errors import OodgridError

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}


@pytest.fixture
def model_of(tmp_path):
    def make(quick_gelu=False, **vision):
        config = {"embed_dim": 12, "quick_gelu": quick_gelu, "vision_cfg": {**VISION, **vision}, "text_cfg": TEXT}
        (tmp_path / "local-test.json").write_text(json.dumps(config))
        open_clip.add_model_config(tmp_path / "local-test.json")
        torch.manual_seed(0)
        model = open_clip.create_model("local-test").eval()
        for values in model.visual.parameters():  # biases and scales begin at 0 and 1, which would hide mistakes
            values.data += 0.1 * torch.randn_like(values)
        return model

    return make


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def naive(model, pixels, quick_gelu):
    """The whole tower in float64, token by token where that is clearer, from the state dict alone."""
    from scipy.special import erf

    w = {name: values.double().numpy() for name, values in model.visual.state_dict().items()}
    gelu = (lambda x: x / (1 + np.exp(-1.702 * x))) if quick_gelu else (lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))))
    results = []
    for image in pixels.double().numpy():
        patches = [image[:, r : r + 8, c : c + 8] for r in range(0, 32, 8) for c in range(0, 32, 8)]
        tokens = [np.tensordot(w["conv1.weight"], patch, 3) for patch in patches]
        x = np.stack([w["class_embedding"], *tokens]) + w["positional_embedding"]
        x = layer_norm(x, w["ln_pre.weight"], w["ln_pre.bias"])
        for layer in range(2):
            b = {k.split(".", 3)[3]: v for k, v in w.items() if k.startswith(f"transformer.resblocks.{layer}.")}
            normed = layer_norm(x, b["ln_1.weight"], b["ln_1.bias"])
            q, k, v = np.split(normed @ b["attn.in_proj_weight"].T + b["attn.in_proj_bias"], 3, axis=-1)
            heads = [slice(0, 16), slice(16, 32)]
            mixed = np.concatenate([softmax(q[:, h] @ k[:, h].T / 4) @ v[:, h] for h in heads], axis=-1)

            def rest(x, attended, b=b):
                x = x + attended @ b["attn.out_proj.weight"].T + b["attn.out_proj.bias"]
                inner = layer_norm(x, b["ln_2.weight"], b["ln_2.bias"])
                inner = gelu(inner @ b["mlp.c_fc.weight"].T + b["mlp.c_fc.bias"])
                return x + inner @ b["mlp.c_proj.weight"].T + b["mlp.c_proj.bias"]

            local = rest(x, v)  # the values as they are, no head mixes patches
            x = rest(x, mixed)
        post = [layer_norm(t, w["ln_post.weight"], w["ln_post.bias"]) @ w["proj"] for t in (x[0], local[1:])]
        results.append(post)
    return np.stack([r[0] for r in results]), np.stack([r[1] for r in results])


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_against_a_naive_tower_in_float64(model_of, quick_gelu):
    model = model_of(quick_gelu)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        image, local = encode_with_local(model, pixels)
    expected_image, expected_local = naive(model, pixels, quick_gelu)
    assert local.shape == (3, 16, 12)
    np.testing.assert_allclose(image.numpy(), expected_image, atol=2e-5)
    np.testing.assert_allclose(local.numpy(), expected_local, atol=2e-5)


@pytest.mark.parametrize("vision", [{}, {"pool_type": "avg"}, {"final_ln_after_pool": True}, {"ls_init_value": 0.5}])
def test_image_features_are_the_models_own_to_the_last_bit(model_of, vision):
    model = model_of(**vision)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    check_local_features("b", model)
    with torch.inference_mode():
        image, local = encode_with_local(model, pixels)
        assert torch.equal(image, model.encode_image(pixels, normalize=False))
    assert local.shape == (2, 16, 12)
    assert not model.visual.transformer.resblocks[-1]._forward_pre_hooks


def test_a_patch_sees_the_others_only_through_earlier_blocks(model_of):
    model = model_of(layers=1)
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    other = pixels.clone()
    other[..., 8:16, 8:16] += 1  # patch 5 of 16, row by row
    with torch.inference_mode():
        one, two = (encode_with_local(model, p)[1][0] for p in (pixels, other))
    changed = (one != two).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("name", ["RN50", "coca_ViT-B-32"])
def test_other_towers_are_refused(name):
    with pytest.raises(OodgridError, match="local_features: false"):
        check_local_features(name, open_clip.create_model(name))


def test_a_timm_model_is_refused_before_any_image_is_read(tmp_path):
    backbone = Backbone(name="t", model="timm/test_vit", pretrained="random", local_features=True)
    with pytest.raises(OodgridError, match="no local features"):
        encode_images(tmp_path, backbone, Dataset(name="noise", generated={"kind": "noise", "images": 3}))


def test_files_hold_them_beside_the_same_image_features(tmp_path, monkeypatch):
    from oodgrid.encode import work

    monkeypatch.setattr(work, "LOCAL_ROWS", 64)
    entry = catalogue.entry("backbone", "tiny")
    noise = Dataset(name="noise", generated={"kind": "noise", "images": 150})
    (plain,) = encode_images(tmp_path / "plain", Backbone(name="tiny", **entry), noise)
    backbone = Backbone(name="tiny", **entry, local_features=True)
    (path,) = encode_images(tmp_path / "local", backbone, noise)
    found = store.read_features(path)
    np.testing.assert_array_equal(found.image_features, store.read_features(plain).image_features)
    local = np.concatenate([values for _, values in store.read_local_features(path)])
    assert local.shape == (150, 36, 96)
    assert "values in place of attention" in found.provenance["local_features"]
    loaded = backbones.load(backbone)
    from oodgrid.encode.sources import open_split

    images = open_split(noise, "test")
    from PIL import Image

    pixels = torch.stack([loaded.preprocess(Image.fromarray(images.read(row))) for row in (0, 149)])
    with torch.inference_mode():
        np.testing.assert_allclose(local[[0, 149]], encode_with_local(loaded.model, pixels)[1].numpy(), atol=1e-5)
