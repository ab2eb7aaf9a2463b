"""The feature cache through the workflow: shards, views, broken images, and trying to make it lie."""

from __future__ import annotations

import copy
import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from oodgrid import store
from tests.workflow.conftest import clone_of_project

pytest.importorskip("torch")
pytestmark = pytest.mark.slow


def picture(seed):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


EXPERIMENT = {
    "experiment": "mini",
    "backbones": ["tiny"],
    "id_datasets": [
        {
            "name": "photos",
            "folder": "photos",
            "splits": {"train": 8, "val": 4},
            "ood": {"far": [{"name": "noise", "generated": {"kind": "noise", "images": 90}}]},
        }
    ],
    "methods": ["zero_shot", "tip_adapter"],
    "shots": [2],
    "seeds": [1],
    "scores": ["mcm"],
}


@pytest.fixture
def photos(clone):
    """A clone with two class folders of images, and an experiment on them through the tiny CLIP."""
    _photographed(clone)
    return clone, copy.deepcopy(EXPERIMENT)


@pytest.fixture
def evaluated(built, tmp_path):
    """The same after `snakemake metrics`."""
    return built("photos", _evaluated, tmp_path / "clone"), copy.deepcopy(EXPERIMENT)


def _photographed(clone):
    for k in range(160):
        path = clone.folder / "photos" / ("red circle" if k % 2 else "blue square") / f"{k:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(k))
    clone.write(EXPERIMENT)


def _evaluated(clone):
    clone_of_project(clone)
    _photographed(clone)
    clone.snakemake("metrics")


def digests(clone):
    features = clone.folder / "results" / "features" / "tiny"
    return {path.relative_to(features).as_posix(): store.read_features(path).digest
            for path in features.glob("*/t*t.h5")}  # fmt: skip


def wholes(clone):
    """The kept files and what tells a file from one that was written anew."""
    return {path: path.stat().st_ino for path in (clone.folder / "results/kept/encode").rglob("whole.h5")}


def test_shards_change_nothing_and_changing_their_number_encodes_nothing(evaluated):
    clone, experiment = evaluated
    whole = digests(clone)
    assert set(whole) == {"photos/test.h5", "noise/test.h5"}
    kept = wholes(clone)
    experiment["id_datasets"][0]["shards"] = 3
    clone.write(experiment)
    clone.snakemake("features")
    assert wholes(clone) == kept
    clone.run("rm", "-r", "results", ".snakemake")
    clone.snakemake("results/features/tiny/photos/test.h5")
    assert digests(clone) == {"photos/test.h5": whole["photos/test.h5"]}
    assert not list((clone.folder / "results").rglob("*-of-3.json"))


def test_views_flow_into_the_methods_that_name_them(evaluated):
    clone, experiment = evaluated
    experiment["id_datasets"][0]["views"] = [{"family": "rrc50", "count": 3}]
    experiment["methods"] = ["tip_adapter", {"name": "tip_adapter", "views": "rrc50"}]
    clone.write(experiment)
    clone.snakemake("metrics")
    (file,) = (clone.folder / "results/features/tiny/photos").glob("train.views-rrc50-*.h5")
    views = store.read_views(file)
    assert views.image_features.shape == (4, 3, 96)
    rows = clone.metrics()
    assert set(rows["method"]) == {"tip_adapter", "tip_adapter@views=rrc50"}
    assert set(rows["status"]) == {"ok"}
    assert rows["auroc"].n_unique() == 2
    experiment["seeds"] = [1, 2]
    clone.write(experiment)
    clone.snakemake("metrics")
    (other,) = set((clone.folder / "results/features/tiny/photos").glob("train.views-rrc50-*.h5")) - {file}
    more = store.read_views(other)
    rows = np.searchsorted(more.index, views.index)
    np.testing.assert_array_equal(more.image_features[rows], views.image_features)
    assert "Nothing to be done" in clone.snakemake("metrics")


def test_broken_images_are_left_out_only_where_asked_and_the_report_says_so(evaluated):
    clone, experiment = evaluated
    clone.run("rm", "-r", "results/features/tiny/photos", "results/kept/encode")  # as before the first run
    broken = clone.folder / "photos" / "blue square" / "004.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    output = clone.snakemake(ok=False)
    assert "004.jpg is a broken image" in output
    assert "on_error: skip" in output
    experiment["id_datasets"][0]["on_error"] = "skip"
    clone.write(experiment)
    clone.snakemake()
    found = [store.read_provenance(path) for path in (clone.folder / "results/features/tiny/photos").glob("*.h5")]
    assert [path for about in found for path, _ in about.get("skipped", [])] == ["blue square/004.jpg"]
    assert "Broken images left out" in (clone.folder / "results/mini/report.html").read_text() or not any(
        about.get("skipped") for about in found if about["split"] == "test"
    )
    experiment["id_datasets"][0]["on_error"] = "stop"
    clone.write(experiment)
    assert "lacks 1 broken image" in clone.snakemake(ok=False)


def test_attempts_to_make_the_cache_lie(evaluated):
    clone, experiment = evaluated
    files = [str(path.relative_to(clone.folder)) for path in (clone.folder / "results/features").rglob("*.h5")]
    assert clone.run("oodgrid", "verify", *files, "--deep").count("ok ") == 4
    dataset, backbone = experiment["id_datasets"][0], {"name": "tiny", **TINY}

    for change, said in (
        (
            {"backbones": [{**backbone, "interpolation": "bilinear"}]},
            'backbone.interpolation is null in the file and "bilinear"',
        ),
        ({"backbones": [{**backbone, "precision": "bf16"}]}, 'backbone.precision is "fp32" in the file and "bf16"'),
        ({"id_datasets": [{**dataset, "exif_rotation": True}]}, "dataset.exif_rotation is false in the file and true"),
        ({"id_datasets": [{**dataset, "classnames": ["a", "b"]}]}, "dataset.classnames is null in the file"),
        ({"id_datasets": [{**dataset, "templates": ["a {}."]}]}, "text.templates"),
    ):
        clone.write(experiment | change)
        assert said in clone.snakemake("metrics", ok=False)
    clone.write(experiment)

    image = clone.folder / "photos" / "blue square" / "000.jpg"
    image.write_bytes(picture(999))
    output = clone.run("oodgrid", "verify", *files, "--sources", ok=False)
    assert "blue square/000.jpg" in output
    assert output.count("CHANGED") == 1
    (clone.folder / "photos" / "red circle").rename(clone.folder / "photos" / "green circle")
    output = clone.run("oodgrid", "verify", *files, "--sources", ok=False)
    assert "images are gone, the first: red circle/" in output
    assert "Nothing to be done" in clone.snakemake("metrics")  # ordinary runs trust the file

    (clone.folder / "results/features/tiny/photos/test.h5").unlink()
    clone.snakemake("features")
    assert "does not fit" in clone.snakemake("metrics", ok=False)  # the texts are of the classes before


def test_whoever_deletes_what_is_out_of_date_is_served_nothing_stale(evaluated):
    """Snakemake alone takes no notice of a file that is missing behind results which are there."""
    clone, experiment = evaluated
    before = clone.metrics()["auroc"].to_list()
    for path in sorted((clone.folder / "photos").rglob("*.jpg")):
        path.write_bytes(picture(1000 + int(path.stem)))
    features = clone.folder / "results/features/tiny/photos"
    output = clone.run("oodgrid", "verify", str(features / "test.h5"), "--sources", ok=False)
    assert "Delete it to encode them again" in output
    (features / "test.h5").unlink()
    clone.snakemake("metrics")
    new_images = clone.metrics()["auroc"].to_list()
    assert all(one != other for one, other in zip(before, new_images, strict=True))

    clone.write({**experiment, "backbones": [{"name": "tiny", **TINY, "interpolation": "bilinear"}]})
    assert "delete the file" in clone.snakemake("metrics", ok=False)
    clone.run("rm", "-r", "results/features/tiny", "results/text/tiny")
    clone.snakemake("results/mini/metrics.parquet")  # also by a target that does not ask for features
    assert all(one != other for one, other in zip(new_images, clone.metrics()["auroc"].to_list(), strict=True))
    assert "Nothing to be done" in clone.snakemake("metrics")


def test_weights_swapped_under_one_name_are_refused(photos, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    from oodgrid import catalogue

    clone, experiment = photos
    state = load_file(catalogue.packaged(TINY["pretrained"]))
    own = {"name": "own", "model": "oodgrid-tiny", "model_config_file": TINY["model_config_file"]}
    table = torch.zeros(49408, state["token_embedding.rows"].shape[1])
    table[state.pop("token_embedding.ids").long()] = state.pop("token_embedding.rows").float()
    state = {name: values.float() for name, values in state.items()} | {"token_embedding.weight": table}
    save_file(state, clone.folder / "w.safetensors")
    experiment["backbones"] = [{**own, "pretrained": "w.safetensors"}]
    clone.write(experiment)
    features = "results/features/own/noise/test.h5"
    clone.snakemake(features)
    state["visual.proj"] = state["visual.proj"] * 1.001
    save_file(state, clone.folder / "w.safetensors")
    output = clone.snakemake(features, ok=False)
    assert "backbone.pretrained_sha256 is" in output


def test_a_timm_model_works_without_text(photos):
    clone, experiment = photos
    experiment["backbones"] = [{"name": "t", "model": "timm/test_vit", "pretrained": "random"}]
    experiment["id_datasets"][0]["text"] = "visual_prototypes"
    experiment["methods"] = ["prototype"]
    clone.write(experiment)
    clone.snakemake("metrics")
    assert clone.metrics().filter(pl.col("status") == "ok").height == 1


TINY = {
    "model": "oodgrid-tiny",
    "pretrained": "package:tiny_clip/weights.safetensors",
    "model_config_file": "package:tiny_clip/oodgrid-tiny.json",
}
