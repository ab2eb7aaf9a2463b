"""The published scores of every image of SeTAR, through our metrics, beside the numbers that others published."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest

from oodgrid import config
from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.evaluate.run import METRICS
from oodgrid.evaluate.score_files import read_scores
from oodgrid.published import Ours, catalogued, compared

ROOT = Path(__file__).resolve().parents[2]
SHARED = (ROOT / os.environ.get("OODGRID_SHARED", "../shared")).resolve()
GOLDEN = SHARED / "data" / "golden" / "setar_clip_b16"
SETS = {"inaturalist": "iNaturalist", "sun": "Sun", "places": "Places", "textures": "Texture"}
SCORES = {"mcm": ("Vanilla_MCM", {"T": 1.0}), "gl_mcm": ("Vanilla_GL_MCM", {"weight": 1.0, "T": 1.0})}

pytestmark = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"the published scores are not here: {GOLDEN} (set OODGRID_SHARED)"
)


@pytest.fixture(scope="module")
def metrics():
    rows = []
    for score, (folder, params) in SCORES.items():
        read = {name: -read_scores(GOLDEN / folder / f"scores_OOD_{file}_test.csv.gz") for name, file in SETS.items()}
        id_scores = -read_scores(GOLDEN / folder / "scores_ID_ImageNet1K_test.csv.gz")
        accuracy = json.loads((GOLDEN / folder / "metrics_classify_test.json").read_text())
        for name, scores in read.items():
            rows.append(
                {"experiment": "setar", "backbone": "clip-vit-b16", "id_dataset": "imagenet", "ood_dataset": name,
                 "ood_kind": "far", "method": "zero_shot", "base_method": "zero_shot", "shots": 0, "seed": 0,
                 "score": score, "base_score": score, "params": json.dumps(params), "status": "ok",
                 "n_id": len(id_scores), "n_ood": len(scores), "id_accuracy": accuracy["ID_ImageNet1K"] / 100,
                 **metrics_from_counts(count_scores(id_scores, scores))}
            )  # fmt: skip
    return pl.DataFrame(rows, schema=METRICS, strict=False)


def experiment(interpolation="bicubic", prompt="a photo of a {}"):
    backbone = {"name": "clip-vit-b16", "model": "ViT-B-16-quickgelu", "pretrained": "openai"}
    return config.parse(
        {
            "experiment": "setar",
            "backbones": [backbone | {"interpolation": interpolation}],
            "id_datasets": [
                {"name": "imagenet", "imported": {}, "templates": [prompt],
                 "ood": {"far": [{"name": name, "imported": {}} for name in SETS]}}
            ],
            "methods": ["zero_shot"],
            "scores": list(SCORES),
        }
    )  # fmt: skip


def matched(comparisons):
    return [each for each in comparisons if not each.reasons]


def test_their_scores_give_their_numbers_in_their_convention(metrics):
    comparisons = matched(compared(catalogued(), Ours(metrics, None, experiment())))
    of_setar = {each.value.source: [] for each in comparisons}
    for each in comparisons:
        of_setar[each.value.source].append(each)
    assert {"setar-mcm", "setar-gl-mcm", "setar-ood-positive", "cover"} <= set(of_setar)
    for source in ("setar-mcm", "setar-gl-mcm", "setar-ood-positive"):
        b16 = [each for each in of_setar[source] if each.value.setting.backbone.model == "ViT-B-16"]
        published = [
            value for value in catalogued() if value.source == source and value.setting.backbone.model == "ViT-B-16"
        ]
        assert len(b16) == len(published) >= 10
        for each in b16:
            assert abs(each.difference) < 0.0001, each  # to the decimals they print: far within any tolerance
            assert each.verdict == "within tolerance"


def test_numbers_of_mcm_itself_need_its_resizing(metrics):
    bicubic = compared(catalogued(), Ours(metrics, None, experiment()))
    assert not [each for each in matched(bicubic) if each.value.source == "mcm"]
    bilinear = [each for each in compared(catalogued(), Ours(metrics, None, experiment("bilinear")))
                if each.value.source == "mcm"]  # fmt: skip
    assert all(each.verdict == "within tolerance" for each in bilinear)
    assert len(bilinear) == 10
    other_prompt = compared(catalogued(), Ours(metrics, None, experiment("bilinear", "a photo of a {}.")))
    assert {reason.what for each in other_prompt if each.value.source == "mcm" for reason in each.reasons} == {"prompt"}
