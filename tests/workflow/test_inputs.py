"""A rule says all that its job reads: any file can be asked for alone, where nothing else was made yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodgrid import config, plan
from tests.workflow.test_cache import photos  # noqa: F401  a fixture

BELOW = "results/mini"
TARGETS = {
    "a fit on views": f"{BELOW}/adapted/tiny/photos/tip_adapter@views=rrc50/fit.json",
    "what a method left": f"{BELOW}/adapted/tiny/photos/clip_adapter/apply.json",
    "scores of features": f"{BELOW}/scores/tiny/photos/any.parquet",
    "scores of streams": f"{BELOW}/scores/tiny/photos/zero_shot.streams.parquet",
}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["views of draws", *TARGETS])
def test_every_file_can_be_asked_for_alone(photos, target):  # noqa: F811
    """The train split is encoded for the draws alone, so that its splits are made by two jobs, in any order."""
    clone, experiment = photos
    experiment["id_datasets"][0] |= {
        "splits": {"train": 30, "val": 10}, "train": "drawn", "shards": 2, "views": [{"family": "rrc50", "count": 2}],
    }  # fmt: skip
    experiment |= {
        "methods": ["zero_shot", {"name": "tip_adapter", "views": "rrc50"}, "clip_adapter"],
        "shots": [1],
        "seeds": [1],
        "scores": ["mcm", "knn", "tag", {"name": "adaneg", "labels": "concept-words"}],
        "temperatures": [0.1],
    }
    clone.write(experiment)
    parsed = config.parse(experiment)
    views = plan.views_file(Path("results"), parsed, "tiny", "photos", parsed.id_datasets[0].views[0])
    file = TARGETS.get(target, str(views))
    clone.snakemake(file)
    assert (clone.folder / file).exists()
