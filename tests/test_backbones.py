from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodgrid import backbones, catalogue
from oodgrid.backbones import load, open_clip_models
from oodgrid.config import Backbone, build
from oodgrid.errors import OodgridError
from oodgrid.identity import file_sha256
from oodgrid.published.matching import NOT_BICUBIC
from tests import failing

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")


def failure(**fields):
    return failing.failure(load, Backbone(**fields))


@pytest.fixture(scope="session")
def loaded(untrained):
    return load(Backbone(**untrained))


def test_weights_of_the_users_own_file(loaded, untrained):
    state = torch.load(untrained["pretrained"], weights_only=True)
    for name, values in loaded.model.state_dict().items():
        torch.testing.assert_close(values.cpu(), state[name], rtol=0, atol=0)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.vocabulary is None


def test_a_path_with_variables(untrained, monkeypatch):
    monkeypatch.setenv("OODGRID_TEST_WEIGHTS", str(Path(untrained["pretrained"]).parent))
    found = load(Backbone(**{**untrained, "pretrained": "${OODGRID_TEST_WEIGHTS}/weights.pt"}))
    assert found.identity == load(Backbone(**untrained)).identity  # files count by content, not by place
    assert found.identity["pretrained_sha256"] == file_sha256(Path(untrained["pretrained"]))


def test_the_identity_is_json_and_names_all_that_decides(loaded, untrained):
    identity = json.loads(json.dumps(loaded.identity))
    assert identity["model"] == "test-tiny"
    assert identity["precision"] == "fp32"
    assert identity["preprocessing"]["interpolation"] == "bicubic"
    assert identity["preprocessing"]["size"] in (32, [32, 32])
    assert {"mean", "std", "resize_mode"} <= set(identity["preprocessing"])


def test_other_weights_are_another_identity(loaded, untrained, tmp_path):
    state = torch.load(untrained["pretrained"], weights_only=True)
    state["logit_scale"] += 1e-6
    torch.save(state, tmp_path / "other.pt")
    other = load(Backbone(**{**untrained, "pretrained": str(tmp_path / "other.pt")}))
    assert other.identity["weights_sha256"] != loaded.identity["weights_sha256"]
    assert load(Backbone(**untrained)).identity == loaded.identity


def test_preprocessing_is_that_of_open_clip(loaded):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8))
    expected = open_clip.image_transform(
        32, is_train=False, mean=loaded.identity["preprocessing"]["mean"], std=loaded.identity["preprocessing"]["std"],
        interpolation="bicubic", resize_mode="shortest",
    )(image)  # fmt: skip
    torch.testing.assert_close(loaded.preprocess(image), expected, rtol=0, atol=0)
    assert expected.shape == (3, 32, 32)


@pytest.mark.parametrize(("field", "value"), [("interpolation", "bilinear"), ("resize_mode", "squash")])
def test_preprocessing_can_be_chosen(loaded, untrained, field, value):
    other = load(Backbone(**untrained, **{field: value}))
    assert other.identity["preprocessing"][field] == value
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8))
    assert not torch.equal(other.preprocess(image), loaded.preprocess(image))


# ------------------------------------------------------------------------------------------------------ mistakes


def test_an_unknown_architecture_is_asked_back():
    line = failure(name="b", model="ViT-B-61", pretrained="openai-like")
    assert "unknown open_clip model 'ViT-B-61': did you mean 'ViT-B-" in line


@pytest.mark.parametrize(
    ("model", "tag", "mend"),
    [
        ("ViT-B-16", "dfn2b", "ViT-B-16-quickgelu"),
        ("ViT-B-32", "metaclip_400m", "ViT-B-32-quickgelu"),
        ("RN50", "yfcc15m", "RN50-quickgelu"),
    ],
)
def test_weights_of_another_activation_are_refused_before_any_download(model, tag, mend):
    cfg = open_clip.get_pretrained_cfg(model, tag)
    if not cfg or not cfg.get("quick_gelu"):
        pytest.skip(f"this open_clip has no {tag} of another activation under {model}")
    line = failure(name="b", model=model, pretrained=tag)
    assert "trained with QuickGELU" in line
    assert f"write model: {mend}" in line


def test_the_right_pair_passes_the_check():
    from oodgrid.backbones.open_clip_models import refuse_the_quickgelu_trap

    for model, tag in (("ViT-B-16-quickgelu", "openai"), ("ViT-B-32", "laion2b_s34b_b79k")):
        assert open_clip.get_pretrained_cfg(model, tag)
        refuse_the_quickgelu_trap(open_clip, Backbone(name="b", model=model, pretrained=tag))


def test_weights_that_are_not_there_are_one_line(untrained):
    line = failure(**{**untrained, "pretrained": "/nowhere/weights.pt"})
    assert "backbone untrained: cannot load '/nowhere/weights.pt' for test-tiny" in line


def test_weights_that_do_not_fit_are_one_line(untrained, tmp_path):
    torch.save({"logit_scale": torch.ones(())}, tmp_path / "w.pt")
    assert "cannot load" in failure(**{**untrained, "pretrained": str(tmp_path / "w.pt")})


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_weights_that_are_a_program_do_not_run(untrained, tmp_path):
    mark = tmp_path / "pwned"

    class Evil:
        def __reduce__(self):
            return Path.touch, (mark,)

    (tmp_path / "w.pt").write_bytes(pickle.dumps(Evil()))
    assert "cannot load" in failure(**{**untrained, "pretrained": str(tmp_path / "w.pt")})
    torch.save(Evil(), tmp_path / "w.pt")
    assert "cannot load" in failure(**{**untrained, "pretrained": str(tmp_path / "w.pt")})
    assert not mark.exists()


def test_a_bad_architecture_file_is_one_line(untrained, tmp_path):
    file = tmp_path / "test-tiny.json"
    given = {**untrained, "model_config_file": str(file)}
    assert "cannot read" in failure(**given)
    file.write_text('{"embed_dim": ')
    assert "cannot read" in failure(**given)
    file.write_text("3")
    assert "cannot read" in failure(**given)
    file.write_text('{"embed_dim": 3, "vision_cfg": {}}')
    assert "lacks text_cfg" in failure(**given)
    assert "write model: test-tiny" in failure(**{**given, "model": "tiny-test"})


# ------------------------------------------------------------------------------------------------ packed weights


def pack(untrained, tmp_path, monkeypatch, words):
    """Leave weights whose token table holds only the rows of some words, as the shipped ones do."""
    from safetensors.torch import save_file

    state = torch.load(untrained["pretrained"], weights_only=True)
    table = state.pop("token_embedding.weight")
    ids = sorted({int(i) for i in open_clip.get_tokenizer("test-tiny")(words).unique() if i})
    rows = {"token_embedding.ids": torch.tensor(ids, dtype=torch.int32), "token_embedding.rows": table[ids]}
    save_file({name: values.half() for name, values in state.items()} | rows, tmp_path / "w.safetensors")
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    catalogue.file_sha256.cache_clear()
    return Backbone(**{**untrained, "pretrained": "package:w.safetensors"})


@pytest.fixture
def packed(untrained, tmp_path, monkeypatch):
    yield load(pack(untrained, tmp_path, monkeypatch, ["a photo of a red circle."]))
    catalogue.file_sha256.cache_clear()


def test_known_words_have_their_embeddings(packed, untrained):
    state = torch.load(untrained["pretrained"], weights_only=True)
    tokens = packed.tokenize(["a red circle."])
    ids = [i for i in tokens[0].tolist() if i]
    table = packed.model.token_embedding.weight.cpu()
    torch.testing.assert_close(table[ids], state["token_embedding.weight"][ids], rtol=0, atol=0)
    assert not table[next(i for i in range(1, 1000) if i not in packed.vocabulary)].any()
    np.testing.assert_array_equal(packed.model.visual.proj.cpu(), state["visual.proj"].half().float())


def test_packed_weights_come_without_a_warning_that_there_are_none(untrained, tmp_path, monkeypatch, caplog):
    load(pack(untrained, tmp_path, monkeypatch, ["a"]))
    assert not [record for record in caplog.records if record.levelname != "INFO"]
    assert logging.root.manager.disable == logging.NOTSET


def test_a_word_that_was_never_trained_is_refused(packed):
    with pytest.raises(OodgridError) as caught:
        packed.tokenize(["a red circle.", "a photo of a zebra."])
    line = str(caught.value)
    assert "never saw the word 'zebra' of 'a photo of a zebra.'" in line
    assert "visual_prototypes" in line
    assert "\n" not in line


def test_a_packed_backbone_is_identified_by_its_bytes(packed, untrained, tmp_path, monkeypatch):
    other = pack(untrained, tmp_path, monkeypatch, ["a green square"])
    assert other.identity["pretrained_sha256"] != packed.identity["pretrained_sha256"]


def test_packed_weights_that_are_missing_or_damaged_are_one_line(untrained, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    catalogue.file_sha256.cache_clear()
    given = {**untrained, "pretrained": "package:w.safetensors"}
    assert "w.safetensors" in failure(**given)
    pack(untrained, tmp_path, monkeypatch, ["a"])
    good = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(good[:-100])
    assert "cannot load 'package:w.safetensors'" in failure(**given)


def test_the_shipped_backbone_knows_its_own_world_and_nothing_else():
    entry = catalogue.entry("backbone", "tiny")
    if not catalogue.packaged(entry["pretrained"]).exists():
        pytest.skip(f"{entry['pretrained']} is not made yet: python tools/train_tiny_clip.py")
    tiny = load(Backbone(name="tiny", **entry))
    tiny.tokenize([f"a photo of a {colour} circle." for colour in ("red", "orange", "purple")])
    with pytest.raises(OodgridError, match="never saw the word"):
        tiny.tokenize(["a photo of a zebra."])


# ---------------------------------------------------------------------------------------------- files of weights


def state_of(untrained):
    return torch.load(untrained["pretrained"], weights_only=True)


def test_a_hash_is_checked_before_anything_is_read(untrained, tmp_path):
    file = tmp_path / "w.pt"
    file.write_bytes(b"not even a checkpoint")
    line = failure(**{**untrained, "pretrained": str(file)}, sha256="0" * 64)
    assert file_sha256(file) in line
    assert "0" * 64 in line
    right = file_sha256(Path(untrained["pretrained"]))
    assert load(Backbone(**untrained, sha256=right)).identity == load(Backbone(**untrained)).identity


@pytest.mark.parametrize(
    "wrap", [lambda s: {"state_dict": s, "epoch": 3}, lambda s: {f"module.{k}": v for k, v in s.items()}]
)
def test_checkpoints_of_training_runs(loaded, untrained, tmp_path, wrap):
    torch.save(wrap(state_of(untrained)), tmp_path / "w.pt")
    other = load(Backbone(**{**untrained, "pretrained": str(tmp_path / "w.pt")}))
    assert other.identity["weights_sha256"] == loaded.identity["weights_sha256"]


def test_safetensors(loaded, untrained, tmp_path):
    from safetensors.torch import save_file

    save_file(state_of(untrained), tmp_path / "w.safetensors")
    other = load(Backbone(**{**untrained, "pretrained": str(tmp_path / "w.safetensors")}))
    assert other.identity["weights_sha256"] == loaded.identity["weights_sha256"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("visual.proj"), "lacks 1 tensor, the first: visual.proj"),
        (lambda s: s.update(more=torch.ones(1)), "has beyond the architecture 1 tensor, the first: more"),
        (lambda s: s.update({"visual.proj": torch.ones(2, 2)}), "visual.proj is (2, 2) and should be (32, 16)"),
    ],
)
def test_weights_of_another_architecture_are_named(untrained, tmp_path, change, said):
    state = state_of(untrained)
    change(state)
    torch.save(state, tmp_path / "w.pt")
    assert said in failure(**{**untrained, "pretrained": str(tmp_path / "w.pt")})


def test_an_unknown_tag_is_asked_back():
    assert "did you mean 'laion2b_s34b_b79k'" in failure(name="b", model="ViT-B-32", pretrained="laion2b_s34b_b79")


def test_weights_swapped_under_the_same_path_are_another_identity(untrained, tmp_path):
    file = tmp_path / "w.pt"
    backbone = Backbone(**{**untrained, "pretrained": str(file)})
    torch.save(state_of(untrained), file)
    first = backbone.identity
    torch.save({**state_of(untrained), "logit_scale": torch.tensor(1.0)}, file)
    assert backbone.identity != first


def test_a_hash_of_what_is_no_file_is_refused():
    with pytest.raises(OodgridError, match="sha256 is for a file of weights"):
        build(Backbone, name="b", model="ViT-B-32", pretrained="laion2b_s34b_b79k", sha256="0" * 64)


@pytest.mark.parametrize("weights", ["random", "file"])
def test_another_size_builds_the_model_for_it(untrained, weights):
    given = untrained if weights == "file" else {**untrained, "pretrained": "random"}
    other = load(Backbone(**given, size=48))
    assert other.input_shape == (3, 48, 48)
    assert other.model.visual.positional_embedding.shape == (37, 32)
    with torch.inference_mode():
        assert other.encode_image(torch.zeros(1, *other.input_shape).to(other.device)).shape == (1, 16)


def test_random_weights_are_those_of_their_seed(untrained):
    def sha(seed):
        return load(Backbone(**{**untrained, "pretrained": "random", "seed": seed})).identity

    assert sha(0) == sha(0)
    assert sha(0)["weights_sha256"] != sha(1)["weights_sha256"]
    assert sha(1)["seed"] == 1


# ------------------------------------------------------------------------------------------------ preprocessing


def test_another_resize_and_crop_as_openood_does(untrained):
    from torchvision import transforms

    other = load(Backbone(**untrained, resize=40, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    resized = transforms.Resize(40, interpolation=transforms.InterpolationMode.BICUBIC)(image)
    cut = transforms.ToTensor()(transforms.CenterCrop(32)(resized))
    torch.testing.assert_close(other.preprocess(image), (cut - 0.5) / 0.25)
    assert other.identity["preprocessing"]["resize"] == 40


def test_a_resize_that_leaves_too_little_to_be_cut_is_refused(untrained):
    assert "resize 20 is less than the 32 pixels" in failure(**untrained, resize=20)  # the rest would be black


# ---------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("precision", ["bf16", "amp_bf16"])
def test_less_precision_is_measured_against_fp32(untrained, precision):
    less = load(Backbone(**untrained, precision=precision))
    pixels = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(less.device)
    with torch.inference_mode():
        found = less.encode_image(pixels)
        exact = load(Backbone(**untrained)).encode_image(pixels)
        parity = less.parity(pixels)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    cosine = torch.nn.functional.cosine_similarity(found.double(), exact.double())
    assert parity["cosine_min"] == pytest.approx(float(cosine.min()), abs=1e-12)
    assert 0.99 < parity["cosine_min"] < 1
    assert parity["images"] == 8


def test_fp32_has_nothing_to_be_measured_against(loaded):
    assert loaded.parity(torch.zeros(1, 3, 32, 32)) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")
@pytest.mark.parametrize("precision", ["fp16", "amp_fp16", "tf32"])
def test_half_precision_and_tf32_need_a_gpu(untrained, precision):
    assert "needs a GPU" in failure(**untrained, precision=precision)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_fp32_means_it_whatever_torch_allows(untrained, monkeypatch, precision):
    """Torch's own default lets convolutions round on a GPU; what is allowed is seen where the network is called."""
    loaded = load(Backbone(**untrained))
    loaded = dataclasses.replace(loaded, identity=loaded.identity | {"precision": precision}, reference=loaded.model)
    places, seen = (torch.backends.cuda.matmul, torch.backends.cudnn), []
    monkeypatch.setattr(backbones, "_encode_image", lambda model, pixels: (
        seen.append([place.allow_tf32 for place in places]), pixels.flatten(1))[1])  # fmt: skip
    before = [place.allow_tf32 for place in places]
    loaded.parity(torch.rand(2, *loaded.input_shape))
    assert seen == [[precision == "tf32"] * 2, [False] * 2]
    assert [place.allow_tf32 for place in places] == before


# --------------------------------------------------------------------------------------------------------- timm

TIMM = {"name": "t", "model": "timm/test_vit", "pretrained": "random"}


def test_a_timm_model_is_an_image_only_backbone():
    import timm

    found = load(Backbone(**TIMM))
    pixels = torch.randn(2, *found.input_shape, generator=torch.Generator().manual_seed(0)).to(found.device)
    with torch.inference_mode():
        features = found.encode_image(pixels)
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=0).eval()
    with torch.inference_mode():
        torch.testing.assert_close(features.cpu(), model(pixels.cpu()))
    assert features.shape == (2, model.num_features)
    for ask in (lambda: found.tokenize(["a"]), lambda: found.encode_text(torch.zeros(1, 77))):
        with pytest.raises(OodgridError, match="visual_prototypes"):
            ask()


def test_timm_preprocessing_is_that_of_timm():
    from timm.data import create_transform, resolve_model_data_config

    found = load(Backbone(**TIMM))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 220, 3), dtype=np.uint8))
    expected = create_transform(**resolve_model_data_config(found.model), is_training=False)(image)
    torch.testing.assert_close(found.preprocess(image), expected)


def test_timms_own_resize_gives_way_to_another_resize_mode():
    loaded = load(Backbone(name="x", model="timm/resnet18", pretrained="random", resize_mode="squash"))
    assert "resize" not in loaded.identity["preprocessing"]
    image = Image.new("RGB", (600, 300))
    image.paste((255, 255, 255), (0, 0, 60, 300))  # a centre cut would lose it
    assert loaded.preprocess(image)[:, :, 0].min() > 1


def test_resize_is_refused_where_the_weights_squash(untrained):
    """As those of SigLIP do; it would be recorded as both."""
    with pytest.raises(OodgridError, match="that of its weights is squash: write resize_mode: shortest too"):
        backbones._preprocessing(Backbone(**untrained, resize=40), {"size": 32, "resize_mode": "squash"})


def test_a_timm_checkpoint_may_have_a_classifier(tmp_path):
    import timm

    torch.manual_seed(3)
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.pt")
    found = load(Backbone(**{**TIMM, "pretrained": str(tmp_path / "w.pt")}))
    assert found.model.state_dict().keys() == load(Backbone(**TIMM)).model.state_dict().keys()


def test_a_timm_model_keeps_its_size():
    assert "leave size out" in failure(**TIMM, size=48)


def test_an_unknown_timm_model_is_asked_back():
    assert "did you mean" in failure(name="t", model="timm/vit_bse_patch16_224", pretrained="random")


# ---------------------------------------------------------------------------------------------------- catalogue


def test_every_backbone_of_the_catalogue_exists_with_the_right_activation():
    from oodgrid.backbones.open_clip_models import refuse_the_quickgelu_trap

    pairs = set(open_clip.list_pretrained())
    for name, entry in catalogue.entries("backbone").items():
        if "conse" in entry or entry["pretrained"].startswith((catalogue.PACKAGE, "installed:")):
            continue
        assert (entry["model"], entry["pretrained"]) in pairs, name
        refuse_the_quickgelu_trap(open_clip, Backbone(name=name, **entry))


def test_the_trap_is_known_for_every_tag_of_open_clip():
    """By open_clip's own word, every tag fits the architecture it is listed under, but for those that only warn."""
    from oodgrid.backbones.open_clip_models import refuse_the_quickgelu_trap

    refused = set()
    for model, tag in open_clip.list_pretrained():
        try:
            refuse_the_quickgelu_trap(open_clip, Backbone.model_construct(name="b", model=model, pretrained=tag))
        except OodgridError:
            refused.add((model, tag))
    assert ("ViT-B-16", "openai") in refused
    assert ("ViT-B-16-quickgelu", "openai") not in refused
    for model, tag in refused:
        has = open_clip.get_model_config(model).get("quick_gelu", False)
        assert open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False) != has


def test_weights_that_are_not_resized_bicubically_are_known():
    pretrained = pytest.importorskip("open_clip.pretrained")
    tags = [
        (tag, its["interpolation"]) for its_tags in pretrained._PRETRAINED.values() for tag, its in its_tags.items()
    ]
    assert {tag for tag, interpolation in tags if interpolation != "bicubic"} == NOT_BICUBIC


def test_transformers_is_imported_for_models_alone_whose_text_tower_comes_from_there():
    pytest.importorskip("transformers")
    towers = {
        model: "hf_model_name" in open_clip.get_model_config(model)["text_cfg"] for model in open_clip.list_models()
    }
    needs = open_clip_models._needs_transformers
    assert {model: needs(Backbone(name="x", model=model, pretrained="random")) for model in towers} == towers
    program = """
import sys
from oodgrid.backbones.open_clip_models import import_open_clip
plain = import_open_clip()
assert "transformers" not in sys.modules and plain.hf_model.transformers is None
whole = import_open_clip(with_transformers=True)
assert whole.hf_model.transformers is sys.modules["transformers"]
assert import_open_clip() is import_open_clip(with_transformers=True) is whole
"""
    subprocess.run([sys.executable, "-c", program], check=True)
