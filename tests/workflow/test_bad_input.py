"""Every mistake is one line that names the thing and the mend; nothing that was computed is lost."""

from __future__ import annotations

import copy

import numpy as np
import pytest

FEATURES = "features/clip-vit-b32"


def _our_lines(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("oodgrid:")]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("methodes",), ["zero_shot"], "did you mean 'methods'?"),
        (("scores",), ["mmc"], "did you mean 'mcm'?"),
        (("methods",), ["tip_adaptor"], "did you mean 'tip_adapter'?"),
        (("methods",), [{"name": "tip_adapter", "alfa": 1}], "did you mean 'alpha'?"),
        (("backbones",), ["clip-vit-b23"], "did you mean 'clip-vit-b32'?"),
        (("id_datasets", 0, "ood"), {"near": ["concepts-textres"]}, "did you mean 'concepts-textures'?"),
        (("id_datasets", 0, "ood"), {"near": [{"name": "own", "imported": {}}]}, "overlaps ID set own"),
        (("id_datasets", 0, "ood"), {"near": [{"name": "missing", "imported": {}}]}, "oodgrid import"),
        (("id_datasets", 0, "ood"), {"near": [{"name": "l", "list": {"file": "config.yaml"}}]}, "config.yaml 'path'"),
    ],
)
def test_a_mistake_in_the_config_is_one_line(imported, path, value, says):
    clone, experiment = imported
    before = clone.times("**/*")
    broken = copy.deepcopy(experiment)
    place = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    broken["experiment"] = "broken"
    clone.write(broken)
    output = clone.snakemake(ok=False)
    assert len(_our_lines(output)) == 1, output
    assert says in _our_lines(output)[0]
    assert "Traceback" not in output
    assert clone.times("**/*") == before


def _flip(path):
    data = bytearray(path.read_bytes())
    start = len(data) // 2
    data[start : start + 64] = bytes(255 - byte for byte in data[start : start + 64])
    path.write_bytes(bytes(data))


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize("damage", [_flip, _truncate])
def test_a_damaged_feature_file_is_named_and_kept_work_stays(imported, damage):
    clone, _ = imported
    clone.snakemake("metrics")
    kept = clone.times("kept/**/*.*")
    damage(clone.folder / "results" / FEATURES / "other" / "test.h5")
    output = clone.snakemake("metrics", "--forcerun", "score", ok=False)
    lines = _our_lines(output)
    assert lines and all("other/test.h5 is damaged" in line and "Delete it" in line for line in lines), output
    assert "Traceback" not in output
    assert clone.times("kept/**/*.*") == kept


def test_features_that_are_not_finite_and_counts_that_do_not_match_are_refused_at_the_door(clone):
    features = np.ones((4, 8), np.float32)
    names = ("--backbone", "clip-vit-b32", "--dataset", "x")
    for values, labels, says in (
        (np.where(np.arange(4)[:, None] == 2, np.nan, features), np.zeros(4), "row 2"),
        (features, np.zeros(3), "4 features but 3 labels"),
        (features[:0], np.zeros(0), "not empty"),
    ):
        np.savez(clone.folder / "x.npz", image_features=values, labels=labels)
        output = clone.run("oodgrid", "import", "npz", "x.npz", *names, ok=False)
        assert len(output.splitlines()) == 1
        assert says in output
    assert not (clone.folder / "results" / FEATURES / "x").exists()


def test_a_truncated_image_is_named(clone):
    from PIL import Image

    for label in ("a", "b"):
        (clone.folder / "pictures" / label).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (60, 60), (40 * i, 80, 120)).save(clone.folder / "pictures" / label / f"{i}.jpg")
    broken = clone.folder / "pictures/b/2.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    clone.write(
        {
            "experiment": "pictures",
            "backbones": ["tiny"],
            "id_datasets": [
                {
                    "name": "pictures",
                    "folder": "pictures",
                    "splits": {"train": 1, "val": 1},
                    "text": "visual_prototypes",
                    "ood": {"far": ["noise"]},
                }
            ],
            "methods": ["prototype"],
            "shots": [1],
            "seeds": [1],
            "scores": ["mcm"],
        }
    )
    output = clone.run("oodgrid", "encode", "images", "--dataset", "pictures", ok=False)
    assert "pictures: b/2.jpg is a broken image" in output
    assert "Traceback" not in output
