from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodgrid import catalogue
from oodgrid.backbones import load
from oodgrid.config import Backbone
from oodgrid.errors import OodgridError

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")


def failure(**fields):
    with pytest.raises(OodgridError) as caught:
        load(Backbone(**fields))
    line = str(caught.value)
    assert "\n" not in line
    return line


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
    assert found.identity["pretrained"] == "${OODGRID_TEST_WEIGHTS}/weights.pt"  # it may lie elsewhere tomorrow


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
    from oodgrid.backbones import _refuse_the_quickgelu_trap

    for model, tag in (("ViT-B-16-quickgelu", "openai"), ("ViT-B-32", "laion2b_s34b_b79k")):
        assert open_clip.get_pretrained_cfg(model, tag)
        _refuse_the_quickgelu_trap(open_clip, Backbone(name="b", model=model, pretrained=tag))


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
