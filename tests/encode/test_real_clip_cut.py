"""tools/real_clip_all.py on small caches of the same layout: which classes are ID, and no training image twice."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    for name in ("real_clip_all", "caltech101_with_texts", "imagenet_pairs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("real_clip_all")
    monkeypatch.setattr(module, "CLIP", tmp_path / "clip")
    yield module
    for name in ("real_clip_all", "caltech101_with_texts", "imagenet_pairs"):
        sys.modules.pop(name, None)


def unit(rows, seed):
    drawn = torch.randn(rows, 512, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def cache(folder, splits, draws):
    folder.mkdir(parents=True)
    for name, (features, labels) in splits.items():
        torch.save(features, folder / f"{name}_f.pt")
        torch.save(labels, folder / f"{name}_l.pt")
    for shots, (features, labels, has_values) in draws.items():
        torch.save(features.T.clone(), folder / f"keys_{shots}shots.pt")
        if has_values:
            torch.save(torch.nn.functional.one_hot(labels, 3), folder / f"values_{shots}shots.pt")


def test_an_image_of_two_draws_is_there_once_and_only_within_its_class(tool, tmp_path):
    first, other = unit(6, 0), unit(3, 1)
    labels = torch.arange(3).repeat_interleave(2)
    again = torch.nn.functional.normalize(first[[1]] + 0.003 * unit(1, 2), dim=1)  # two means of views of one image
    assert float(again[0] @ first[1]) > tool.SAME
    second = torch.cat(
        [again, other[[0]], first[[0]]]
    )  # the last: an image of class 0 in class 2, no image of this class
    cache(tmp_path / "c", {}, {2: (first, labels, False), 1: (second, torch.arange(3), True)})
    features, of = tool.pooled(tmp_path / "c")
    assert of.tolist() == [0, 0, 1, 1, 2, 2, 1, 2]
    torch.testing.assert_close(features, torch.cat([first, other[[0]], first[[0]]]))


def test_classes_with_texts_are_id_and_the_others_near_but_for_those_like_them(tool, tmp_path, capsys):
    labels = torch.tensor([2, 0, 1, 3, 0])
    rows = (unit(5, 3), labels)
    drawn = unit(3, 4)
    cache(tmp_path / "clip" / "tip_adapter_caches" / "birds", {"test": rows}, {1: (drawn, torch.arange(3), True)})
    names = {0: "wren", 1: "old crow", 2: "owl", 3: "rook"}
    texts = {"owl": np.full(512, 2.0), "wren": np.ones(512)}
    tool.part(tmp_path, "birds", names, texts, unlike={"old crow", "owl"})

    named, near = (np.load(tmp_path / f"birds-{which}.test.npz") for which in ("named", "unnamed"))
    assert (tmp_path / "birds-named.classnames.txt").read_text().split() == ["wren", "owl"]
    np.testing.assert_array_equal(np.load(tmp_path / "birds-named.text.npy")[:, 0], [1, 2])
    np.testing.assert_array_equal(named["labels"], [1, 0, 0])
    np.testing.assert_array_equal(named["image_features"], rows[0][[0, 1, 4]].half().numpy())
    np.testing.assert_array_equal(near["image_features"], rows[0][[3]].half().numpy())
    train = np.load(tmp_path / "birds-named.train.npz")
    np.testing.assert_array_equal(train["image_features"], drawn[[0, 2]].half().numpy())
    np.testing.assert_array_equal(train["labels"], [0, 1])
    assert not (tmp_path / "birds-named.val.npz").exists()
    assert "3 images of 2 classes" in capsys.readouterr().out


def test_a_breed_goes_by_any_synonym_with_the_text_of_the_first(tool, tmp_path):
    folder = tmp_path / "clip" / "imagenet_text"
    folder.mkdir(parents=True)
    (folder / "labels_names.json").write_text(json.dumps({"0": "Siamese cat, Siamese", "1": "pug, pug-dog"}))
    torch.save(torch.eye(2), folder / "text_features.pt")
    texts = tool.by_synonym()
    assert {name: text.argmax() for name, text in texts.items()} == {
        "siamese cat": 0, "siamese": 0, "pug": 1, "pug dog": 1
    }  # fmt: skip
