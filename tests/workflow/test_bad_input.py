"""Every mistake is one line that names the thing and the mend; nothing that was computed is lost."""

from __future__ import annotations

import copy
import os
import sys

import numpy as np
import pytest

FEATURES = "features/clip-vit-b32"


def _our_lines(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("oodgrid:")]


def test_all_mistakes_in_the_config_are_said_at_once_one_line_each(imported):
    clone, experiment = imported
    before = clone.times("**/*")
    broken = copy.deepcopy(experiment) | {
        "experiment": "broken",
        "methodes": ["zero_shot"],
        "scores": ["mmc"],
        "methods": ["tip_adaptor", {"name": "tip_adapter", "alfa": 1}],
        "backbones": ["clip-vit-b23"],
        "seeds": [1, 1],
    }
    broken["id_datasets"][0]["ood"] = {"near": ["concepts-textres", {"name": "own", "imported": {}}]}
    clone.write(broken)
    output = clone.snakemake(ok=False)
    said = ("methods", "mcm", "tip_adapter", "alpha", "clip-vit-b32", "concepts-textures")
    wanted = [*(f"did you mean '{name}'?" for name in said), "overlaps ID set own", "seed 1 is listed twice"]
    lines = _our_lines(output)
    assert [part for part in wanted if not any(part in line for line in lines)] == []
    assert len(lines) == len(wanted), output
    assert "Traceback" not in output
    assert clone.times("**/*") == before


def test_all_imports_that_are_missing_are_said_at_once(imported):
    clone, experiment = imported
    missing = [{"name": name, "imported": {}} for name in ("missing", "gone")]
    experiment["id_datasets"][0]["ood"] = {"near": missing}
    clone.write(experiment | {"experiment": "broken"})
    lines = _our_lines(clone.snakemake(ok=False))
    assert len(lines) == 2
    assert all("oodgrid import" in line and name in line for name, line in zip(("missing", "gone"), lines, strict=True))


@pytest.mark.parametrize("given", [[], ["--configfile", "config.yaml"]])
def test_what_snakemake_would_lose_or_read_as_something_else_is_refused(imported, given):
    clone, _ = imported
    before = clone.times("**/*")
    config = clone.folder / "config.yaml"
    first = len(config.read_text(encoding="utf-8").splitlines()) + 1
    config.write_text(config.read_text(encoding="utf-8") + "seeds: [1:30]\nseeds: [.inf]\n", encoding="utf-8")
    lines = _our_lines(clone.snakemake("-n", *given, ok=False))
    assert f"line {first}: the key 'seeds' stands here and in line" in lines[0]
    assert f"line {first + 1}: the key 'seeds'" in lines[1]
    assert "'1:30' is a number in base 60" in lines[2]
    assert ".inf is no number" in lines[3]
    assert clone.times("**/*") == before


def test_a_config_that_snakemake_cannot_read_is_one_line(clone):
    """It dies of nesting, and of what grows it never ends."""
    growing = "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 40))
    for content in (f"seeds: {'[' * 900}\n", f"a0: &a0 {{x: 1}}\n{growing}"):
        for name in ("config.yaml", "mine.yaml"):
            (clone.folder / name).write_text(content)
        for given in ([], ["--configfile", "mine.yaml"]):
            output = clone.snakemake("-n", *given, ok=False)
            assert len(_our_lines(output)) == 1
            assert "Traceback" not in output


def _flip(path):
    data = bytearray(path.read_bytes())
    start = len(data) // 2
    data[start : start + 64] = bytes(255 - byte for byte in data[start : start + 64])
    path.write_bytes(bytes(data))


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize("damage", [_flip, _truncate])
def test_a_damaged_feature_file_is_named_and_kept_work_stays(evaluated, damage):
    clone, _ = evaluated
    kept = clone.times("kept/**/*.*")
    damage(clone.folder / "results" / FEATURES / "other" / "test.h5")
    output = clone.snakemake("metrics", "--forcerun", "score", ok=False)
    lines = [line for line in _our_lines(output) if not line.startswith("oodgrid: failed: ")]  # those name the logs
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


def test_a_python_without_the_requirements_is_named_before_the_first_job(clone, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')\n")
    clone.env["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    for arguments in ([], ["--configfile", "config.yaml"]):  # met by the Snakefile, or by the profile before it
        output = clone.snakemake("-n", *arguments, ok=False)
        assert "Traceback" not in output
        lines = _our_lines(output)
        assert len(lines) == 1
        assert f"No module named 'numpy' for {sys.executable}: install oodgrid's requirements there" in lines[0]
