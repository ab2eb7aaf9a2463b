"""Published CLIP ViT-B/32 features through import, adapt, score and evaluate, against numbers that others computed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from oodgrid import config, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.fit import fit
from oodgrid.encode.importing import import_experiment
from oodgrid.evaluate.run import evaluate
from oodgrid.score.run import score

ROOT = Path(__file__).resolve().parents[2]
SHARED = (ROOT / os.environ.get("OODGRID_SHARED", "../shared")).resolve()
FEATURES = SHARED / "data" / "clip_vitb32_features"

pytestmark = pytest.mark.skipif(not FEATURES.is_dir(), reason=f"no features at {FEATURES} (set OODGRID_SHARED)")

# data/README.md of the shared folder: ID = imagenet, keys of 4 shots; n, then what MCM gives, then the AUROC of others
COLUMNS = ("n_ood", "auroc", "fpr95_id_pos", "fpr95_ood_pos", "aupr_in")
MCM = {
    "dtd": (1692, 0.8509, 0.6058, 0.5360, 0.9285),
    "sun397": (3970, 0.7952, 0.7202, 0.6815, 0.7912),
    "fgvc": (3333, 0.6059, 0.9973, 0.6488, 0.7396),
}
AUROC = {
    "max_logit": {"dtd": 0.7715, "sun397": 0.8392, "fgvc": 0.9207},
    "msp": {"dtd": 0.7917, "sun397": 0.6971, "fgvc": 0.4348},
    "energy": {"dtd": 0.7242, "sun397": 0.8435, "fgvc": 0.9591},
}


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    """Run the first ID set of experiments/clip-b32-features.yaml with zero_shot alone, in a folder of its own."""
    folder = tmp_path_factory.mktemp("real")
    text = (ROOT / "experiments" / "clip-b32-features.yaml").read_text(encoding="utf-8")
    raw = yaml.safe_load(text.replace("${OODGRID_SHARED:-../shared}", str(SHARED)))
    raw["id_datasets"] = [entry for entry in raw["id_datasets"] if entry["name"] == "imagenet"]
    raw |= {"methods": ["zero_shot"], "scores": ["mcm", *AUROC]}
    (folder / "reduced.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    experiment = config.load(folder / "reduced.yaml")
    import_experiment(folder / "results", experiment)
    for step in (fit, apply, score):
        step(folder / "results", experiment, "clip-vit-b32", "imagenet", "zero_shot")
    table, _ = store.read_table(evaluate(folder / "results", experiment)[0])
    return {(row["score"], row["ood_dataset"]): row for row in table.iter_rows(named=True)}


@pytest.mark.parametrize("ood", MCM)
def test_mcm_to_four_decimals(metrics, ood):
    row = metrics["mcm", ood]
    assert [round(row[name], 4) for name in COLUMNS] == list(MCM[ood])


@pytest.mark.parametrize("ood", MCM)
@pytest.mark.parametrize("name", AUROC)
def test_auroc_of_other_scores_to_four_decimals(metrics, name, ood):
    assert round(metrics[name, ood]["auroc"], 4) == AUROC[name][ood]


def test_zero_shot_accuracy(metrics):
    assert {round(row["id_accuracy"], 4) for row in metrics.values()} == {0.6112}
    assert {row["n_id"] for row in metrics.values()} == {4000}


# ------------------------------------------------------------------------------------------------ ImageNet-X, near OOD

# research/anchors-2026.md 2.3 of the shared folder: AUROC, both FPRs; ID = the keys of 4 shots of its 500 ID classes
IMAGENET_X = {
    "mcm": (0.7163, 0.8445, 0.7625),
    "msp": (0.7291, 0.8410, 0.7280),
    "max_logit": (0.7043, 0.8285, 0.7965),
    "energy": (0.6824, 0.8540, 0.8310),
    "neglabel@labels=others,groups=1,keep=1": (0.8838, 0.4780, 0.4815),  # an oracle: the names of the OOD classes
}


@pytest.fixture(scope="module")
def imagenet_x(tmp_path_factory):
    """Import the halves of ImageNet-X, and score and evaluate them under zero_shot."""
    import torch

    folder, lists = tmp_path_factory.mktemp("imagenet-x"), SHARED / "data" / "labels" / "imagenet_x"
    load = lambda path: torch.load(path, map_location="cpu", weights_only=True)  # noqa: E731
    keys = load(FEATURES / "tip_adapter_caches" / "imagenet" / "keys_4shots.pt").T
    texts = load(FEATURES / "imagenet_text" / "text_features2.pt")
    for side in ("id", "ood"):
        classes = np.sort(np.loadtxt(lists / f"{side}_data.txt", dtype=int))
        rows = np.flatnonzero(np.isin(np.arange(4000) // 4, classes))
        (folder / side).mkdir()
        torch.save(keys[rows], folder / side / "test_f.pt")
        torch.save(torch.from_numpy(np.searchsorted(classes, rows // 4)), folder / side / "test_l.pt")
        np.save(folder / f"{side}.npy", texts[classes].numpy())
        (folder / f"{side}.json").write_text(json.dumps([f"class {c}" for c in classes]), encoding="utf-8")
    of_side = {"text": str(folder / "id.npy"), "classnames": str(folder / "id.json")}
    raw = {
        "experiment": "imagenet-x",
        "backbones": ["clip-vit-b32"],
        "id_datasets": [
            {
                "name": "x-id",
                "imported": {"tip_adapter": str(folder / "id"), **of_side},
                "templates": ["a photo of a(n) {}"],
                "ood": {"near": [{"name": "x-ood", "imported": {"tip_adapter": str(folder / "ood")}}]},
            }
        ],
        "methods": ["zero_shot"],
        "shots": [1],
        "seeds": [1],
        "scores": [*list(IMAGENET_X)[:4], {"name": "neglabel", "labels": "others", "groups": 1, "keep": 1}],
        "label_lists": [
            {
                "name": "others",
                "imported": {"text": str(folder / "ood.npy"), "labels": str(folder / "ood.json")},
                "templates": ["a photo of a(n) {}"],
            }
        ],
    }
    experiment = config.parse(raw)
    import_experiment(folder / "results", experiment)
    for step in (fit, apply, score):
        step(folder / "results", experiment, "clip-vit-b32", "x-id", "zero_shot")
    table, _ = store.read_table(evaluate(folder / "results", experiment)[0])
    return {row["score"]: row for row in table.iter_rows(named=True)}


def test_imagenet_x_to_four_decimals(imagenet_x):
    """MSP beats MCM here, the reverse of far OOD."""
    columns = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")
    computed = {name: tuple(round(row[column], 4) for column in columns) for name, row in imagenet_x.items()}
    assert computed == IMAGENET_X
    assert {(row["n_id"], row["n_ood"], round(row["id_accuracy"], 4)) for row in imagenet_x.values()} == {
        (2000, 2000, 0.708)
    }
