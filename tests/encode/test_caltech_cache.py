"""tools/caltech101_with_texts.py on a small cache of the same layout: rows of the classes with texts, and no other."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

TOOL = Path(__file__).parents[2] / "tools" / "caltech101_with_texts.py"
NAMES = ["Sea_Horse", "ant", "chair", "windsor_chair", "camera"]  # label by label; the next 95 are alike
WITH_TEXTS = {1: "ant", 2: "chair", 4: "camera"}


@pytest.fixture
def tool(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("caltech101_with_texts", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SHARED", tmp_path)
    monkeypatch.setattr(module, "CLIP", tmp_path / "clip")
    return module


def write(folder, arrays):
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        if name.endswith("npy"):
            np.save(folder / name, array)
        else:
            torch.save(torch.as_tensor(array), folder / name)


def test_classes_with_texts_are_cut_out_row_by_row(tool, tmp_path, monkeypatch):
    names = NAMES + [f"thing_{label}" for label in range(5, 100)]
    labels = np.repeat(np.arange(100), 2)[::-1].copy()
    rows = np.arange(200, dtype=np.float32)[:, None] + np.zeros((200, 3), np.float32)
    shots = np.eye(100)[labels]
    splits = {f"{split}_{part}.pt": a for split in ("val", "test") for part, a in (("f", rows), ("l", labels))}
    keys = {f"{part}_{k}shots.pt": a for k in (1, 2, 4, 8, 16) for part, a in (("keys", rows.T), ("values", shots))}
    write(tmp_path / "clip" / "tip_adapter_caches" / "caltech101", {**splits, **keys})
    write(tmp_path / "clip" / "imagenet_text", {"text_features.pt": np.eye(2, 3)})
    (tmp_path / "clip" / "imagenet_text" / "labels_names.json").write_text('{"0": "chair, seat", "1": "ant, pismire"}')
    write(tmp_path / "clip" / "detic_text", {"lvis_v1_clip_a+cname.npy": 7 * np.eye(2, 3)})
    categories = [{"id": 2, "name": "camera_(device)"}, {"id": 1, "name": "chair"}]
    (tmp_path / "clip" / "detic_text" / "lvis_v1_train_cat_info.json").write_text(json.dumps(categories))
    (tmp_path / "images").mkdir()
    split = {"test": [[f"{label}.jpg", label, name] for label, name in enumerate(names)]}
    (tmp_path / "images" / "split_zhou_Caltech101.json").write_text(json.dumps(split))

    monkeypatch.setattr("sys.argv", ["tool", "--out", str(tmp_path / "out")])
    tool.main()

    chosen, others = tmp_path / "out" / "caltech101-with-texts", tmp_path / "out" / "caltech101-others"
    assert (chosen / "classnames.txt").read_text().split() == list(WITH_TEXTS.values())
    np.testing.assert_array_equal(np.load(chosen / "text.npy"), [[0, 1, 0], [1, 0, 0], [0, 7, 0]])
    kept = np.isin(labels, list(WITH_TEXTS))
    old = np.array(list(WITH_TEXTS))
    for split in ("val", "test"):
        np.testing.assert_array_equal(tool.load(chosen / f"{split}_f.pt"), rows[kept])
        np.testing.assert_array_equal(old[tool.load(chosen / f"{split}_l.pt")], labels[kept])
    np.testing.assert_array_equal(tool.load(chosen / "keys_16shots.pt"), rows[kept].T)
    np.testing.assert_array_equal(old[tool.load(chosen / "values_16shots.pt").argmax(1)], labels[kept])
    apart = ~kept & (labels != NAMES.index("windsor_chair"))  # a chair, which has a text
    np.testing.assert_array_equal(tool.load(others / "test_f.pt"), rows[apart])
    assert len(tool.load(others / "test_l.pt").unique()) == 96
