"""Texts cut behind their end give what the model itself gives for them whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from oodgrid import backbones
from oodgrid.config import Backbone
from oodgrid.encode import embedding
from oodgrid.encode.embedding import embed, shortened
from tests.conftest import ARCHITECTURE

torch = pytest.importorskip("torch")

TEXTS = ["cat", "a photo of a very large and rather old dog.", "été", "", "the nice yellow clintonia", "cat"] * 3
TOWERS = {
    "plain": {},
    "custom": {"custom_text": True},  # open_clip's newer class, with a text tower of its own
    "eos": {"custom_text": True, "text_cfg": {"pool_type": "eos", "eos_id": 49407}},
    "bidirectional": {"custom_text": True, "text_cfg": {"no_causal_mask": True, "pool_type": "last"}},  # as SigLIP's
}


@pytest.fixture
def tower(tmp_path):
    def make(name, precision="fp32"):
        given = TOWERS[name]
        text = {**ARCHITECTURE["text_cfg"], "layers": 2, **given.get("text_cfg", {})}
        architecture = {**ARCHITECTURE, **given, "text_cfg": text}
        file = tmp_path / f"tower-{name}.json"
        file.write_text(json.dumps(architecture))
        entry = {"name": name, "model": file.stem, "model_config_file": str(file), "pretrained": "random"}
        return backbones.load(Backbone(**entry, precision=precision))

    return make


def whole(loaded, texts):
    with torch.inference_mode():
        rows = [loaded.encode_text(loaded.tokenize([text]).to(loaded.device)) for text in texts]
    return torch.cat(rows).cpu().numpy()


@pytest.mark.parametrize("name", TOWERS)
def test_cut_texts_are_whole_texts(tower, monkeypatch, name):
    monkeypatch.setattr(embedding, "BATCH", {"cpu": 4, "cuda": 4})
    loaded = tower(name)
    found = embed(loaded, TEXTS)
    assert found.shape == (18, 16)
    np.testing.assert_allclose(found, whole(loaded, TEXTS), rtol=1e-5, atol=1e-6)


def test_cut_texts_are_whole_texts_in_half_precision(tower):
    loaded = tower("plain", "bf16")
    np.testing.assert_allclose(embed(loaded, TEXTS), whole(loaded, TEXTS), rtol=0.05, atol=0.02)


@pytest.mark.parametrize(("name", "longest"), [("plain", 13), ("custom", 13), ("eos", 13), ("bidirectional", 20)])
def test_only_what_cannot_matter_is_cut(tower, monkeypatch, name, longest):
    seen = []
    loaded = tower(name)
    encode = type(loaded).encode_text
    monkeypatch.setattr(type(loaded), "encode_text", lambda self, t: seen.append(tuple(t.shape)) or encode(self, t))
    monkeypatch.setattr(embedding, "BATCH", {"cpu": 6, "cuda": 6})
    embed(loaded, TEXTS)
    assert [rows for rows, _ in seen] == [6, 6, 6]
    assert max(length for _, length in seen) == longest
    assert (min(length for _, length in seen) < longest) == (name != "bidirectional")


def test_the_model_itself_stays_as_it_was(tower):
    loaded = tower("custom")
    before = whole(loaded, ["cat"])
    short = shortened(loaded, 5)
    assert len(short.model.text.positional_embedding) == 5
    assert short.model.text.token_embedding is loaded.model.text.token_embedding
    assert len(loaded.model.text.positional_embedding) == 20
    np.testing.assert_array_equal(whole(loaded, ["cat"]), before)
