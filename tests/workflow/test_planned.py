"""A run computes what it was planned by, and experiments that share features leave one another alone."""

from __future__ import annotations

import re
import time

import pytest
import yaml

from oodgrid import config
from oodgrid.catalogue import real
from tests.encode.real_layouts import locations, make
from tests.workflow.conftest import PATIENCE
from tests.workflow.test_cache import photos  # noqa: F401  a fixture


def tree(clone):
    """Every file below results/ with its time and size."""
    results = clone.folder / "results"
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in results.rglob("*") if path.is_file()}


def other(first, **changes):
    return {**first, "methods": ["prototype"], "scores": [{"name": "mcm", "T": 0.03}], "shots": [2], **changes}


def test_parsing_and_dry_runs_write_nothing(imported):
    clone, _ = imported
    before = tree(clone)
    clone.snakemake("-n")
    assert tree(clone) == before


def test_nothing_but_a_run_writes_where_all_is_there(reported):
    clone, experiment = reported
    before = tree(clone)
    clone.write(other(experiment), "other.yaml")
    for command in (["-n"], ["-n", "--configfile", "other.yaml"], ["--lint"], ["--summary"], ["--dag"], []):
        clone.run("snakemake", "--cores", "2", *command)
        assert tree(clone) == before, command


def test_neither_a_dry_run_nor_an_edit_changes_what_a_run_computes(evaluated):
    """Jobs read a configuration that is named by its content, never the user's file."""
    clone, experiment = evaluated
    wanted = clone.metrics()
    clone.run("rm", "-r", "results/mini", "results/kept", ".snakemake")
    running = clone.start("snakemake", "--cores", "1", "metrics")
    while not list((clone.folder / "results/mini").glob("configs/*.yaml")):
        assert running.poll() is None
        time.sleep(0.05)
    clone.write(other(experiment), "other.yaml")
    clone.snakemake("-n", "--configfile", "other.yaml")
    clone.run("rm", "-r", ".snakemake/locks")  # as any other run in the folder does when it ends
    output = clone.snakemake("--configfile", "other.yaml", ok=False)
    assert "oodgrid: error: another run of experiment mini is going on here" in output
    clone.write(other(experiment))
    output, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, output
    assert clone.metrics().equals(wanted)
    clone.snakemake("metrics")  # the edited file, now
    assert set(clone.metrics()["score"]) == {"mcm@T=0.03"}


def test_jobs_refuse_a_planned_configuration_that_is_another_or_gone(evaluated):
    clone, _ = evaluated
    (planned,) = (clone.folder / "results/mini").glob("configs/*.yaml")
    assert yaml.safe_load(planned.read_text()) == yaml.safe_load((clone.folder / "config.yaml").read_text())
    path = str(planned.relative_to(clone.folder))
    planned.write_text(planned.read_text().replace("knn", "msp"))
    assert f"{path} is not what planned this job" in clone.run("oodgrid", "evaluate", "--config", path, ok=False)
    planned.unlink()
    assert f"{path}, by which this job was planned, is gone" in clone.run(
        "oodgrid", "evaluate", "--config", path, ok=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("first", ["config.yaml", "other.yaml"])
def test_experiments_that_share_features_never_trigger_one_another(photos, first):  # noqa: F811
    """Whatever else they differ in: methods, shots, seeds, scores, other sets, the number of shards, views."""
    clone, experiment = photos
    own = experiment["id_datasets"][0]
    textures = {"name": "textures", "generated": {"kind": "textures", "images": 30}}
    changes = {"shards": 2, "ood": {"far": [*own["ood"]["far"], textures]}, "views": [{"family": "rrc50", "count": 2}]}
    experiment["id_datasets"][0] = {**own, "views": [{"family": "rrc50", "count": 3}]}
    experiment["methods"] = ["zero_shot", {"name": "tip_adapter", "views": "rrc50"}]
    clone.write(experiment)
    second = other(experiment, experiment="second", id_datasets=[{**own, **changes}], seeds=[2, 3], shots=[1, 4])
    second["methods"] = ["prototype", {"name": "tip_adapter", "views": "rrc50"}]
    clone.write(second, "other.yaml")
    order = ["config.yaml", "other.yaml"] if first == "config.yaml" else ["other.yaml", "config.yaml"]
    runs = [clone.snakemake("metrics", "--configfile", file) for file in order]  # what is shown, none shares
    for name in ("photos", "noise"):
        assert "".join(runs).count(f"wrote results/features/tiny/{name}/test.h5") == 1
    before = tree(clone)
    for file in order:
        assert "Nothing to be done" in clone.snakemake("metrics", "--configfile", file)
    assert tree(clone) == before


@pytest.mark.slow
def test_experiments_that_share_features_run_at_once(photos):  # noqa: F811
    """Where both want to encode the same, Snakemake lets one wait in line; neither wants anything again."""
    clone, experiment = photos
    clone.write(other(experiment, experiment="second"), "other.yaml")
    files = ("config.yaml", "other.yaml")
    running = [clone.start("snakemake", "--cores", "1", "metrics", "--configfile", file) for file in files]
    said = [process.communicate(timeout=PATIENCE)[0] for process in running]  # both have ended before one begins again
    for process, output, file in zip(running, said, files, strict=True):
        if process.returncode:
            assert "Directory cannot be locked" in output
            clone.snakemake("metrics", "--configfile", file)
    for file in files:
        assert "Nothing to be done" in clone.snakemake("metrics", "--configfile", file)


@pytest.mark.slow
def test_hard_pairs_are_planned_on_the_standard_folders_of_a_few_images(whole):
    """`limit: 4` behind root, as its user would try it first; every job that its grid asks for, and no other."""
    file = whole.folder / "experiments/hard-pairs.yaml"
    whole.env["OODGRID_DATA"] = str(root := whole.folder / "data")
    experiment = yaml.safe_load(file.read_text(encoding="utf-8")) | {"root": str(root), "limit": 4}
    parsed = config.parse(experiment)
    names = {dataset.real_name for dataset in parsed.datasets()}
    for name in {real.real_set(name).parent or name for name in names}:
        make(next(locations(root, name)))
    for number, path in enumerate(sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))):
        path.write_bytes(path.read_bytes() + str(number).encode())  # or all would be one image, ID and OOD
    whole.edit("experiments/hard-pairs.yaml", "root: ${OODGRID_DATA:-data}", "root: ${OODGRID_DATA:-data}\nlimit: 4")
    stats = (
        whole.snakemake("-n", "--configfile", "experiments/hard-pairs.yaml").split("Job stats:")[1].split("total")[0]
    )
    assert not (whole.folder / "results").exists()
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.M)}
    sets, drawn = {dataset.name for dataset in parsed.datasets()}, [each.train for each in parsed.id_datasets]
    pairs, methods = len(parsed.id_datasets), len(parsed.methods)
    encoded = sum(count for rule, count in jobs.items() if re.fullmatch(r"encode(_train|_val|_test)+", rule))
    assert encoded == len(sets)
    assert jobs["encode_drawn"] == drawn.count("drawn") == 4
    assert jobs["encode_texts"] == pairs
    assert jobs["fit"] == jobs["apply"] == pairs * methods
    assert jobs["score"] == pairs * (methods + 1)  # of scores of features too, which are of any method
