from __future__ import annotations

import os
import re
import subprocess
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from oodgrid import catalogue, grid, paths, plan, registry, store
from oodgrid.config import parse
from oodgrid.look import Look
from oodgrid.plan import machines
from tests.failing import failure

OWN_BACKBONE = {"name": "b", "model": "ViT-B-32-quickgelu", "pretrained": "openai"}
OWN = {"name": "own", "folder": "data/own", "splits": {"train": 2, "val": 1}, "ood": {"far": ["noise"]}}


@pytest.fixture
def own(experiment_of):
    """An experiment on the user's own backbone and dataset, with parts of the two changed."""

    def make(backbone=None, dataset=None, **changes):
        sets = [{**OWN, **(dataset or {})}]
        return parse(experiment_of(backbones=[{**OWN_BACKBONE, **(backbone or {})}], id_datasets=sets, **changes))

    return make


@pytest.fixture
def imported(experiment_of):
    def make(test="test", text="classnames", **changes):
        described = {"name": "cache", "imported": {"tip_adapter": "caches/x", "test": test}, "text": text}
        sets = [{**described, "ood": {"far": ["noise"]}, **changes}]
        return parse(experiment_of(backbones=[OWN_BACKBONE], id_datasets=sets))

    return make


def names(files, root):
    return [file.relative_to(root).as_posix() for file in files]


def encode(results, experiment, make_features):
    """Leave the files that encoding would leave, with the identities that it would give them."""
    for backbone in experiment.backbones:
        made = {**backbone.identity, "weights_sha256": "abc"}
        for dataset in experiment.datasets():
            for split in dataset.split_names:
                provenance = {"backbone": made, "dataset": dataset.identity, "split": split}
                path = paths.features(results, backbone.name, dataset.name, split)
                store.write_features(path, make_features(classes=2, provenance=provenance))
        for dataset in experiment.id_datasets:
            text = {**dataset.text_identity, "classnames": ["a", "b"]}
            values = make_features(n=2).image_features[None]
            texts = store.Texts(values, ["a", "b"], dataset.templates[:1], {"backbone": made, "text": text})
            store.write_texts(paths.texts(results, backbone.name, dataset.name), texts)


# ------------------------------------------------------------------------------------------------------ files


def test_feature_files_are_every_split_once_and_texts_of_id_sets(tmp_path, own):
    assert names(plan.feature_files(tmp_path, own()), tmp_path) == [
        "features/b/own/train.h5",
        "features/b/own/val.h5",
        "features/b/own/test.h5",
        "features/b/noise/test.h5",
        "text/b/own.h5",
    ]


def test_encoded_files_are_those_that_encoding_makes_and_no_imports(tmp_path, own, imported):
    experiment = own(
        dataset={"views": [{"family": "rrc08"}, {"family": "rrc50"}]}, methods=[{"name": "coop", "views": "rrc50"}]
    )
    own_files = set(plan.feature_files(tmp_path, experiment))
    assert set(plan.encoded_files(tmp_path, experiment)) == own_files | {
        plan.views_file(tmp_path, experiment, "b", "own", experiment.id_datasets[0].views[1])
    }
    left = set(plan.feature_files(tmp_path, imported())) - set(plan.encoded_files(tmp_path, imported()))
    assert left == {paths.features(tmp_path, "b", "cache", "test")}


def test_visual_prototypes_need_no_texts(tmp_path, own):
    experiment = own(dataset={"text": "visual_prototypes"})
    assert not any("text/" in name for name in names(plan.feature_files(tmp_path, experiment), tmp_path))
    assert plan.encoded_texts(experiment) == []


def test_fitting_never_sees_a_test_file(tmp_path, own):
    assert names(plan.fit_input(tmp_path, own(), "b", "own"), tmp_path) == [
        "features/b/own/train.h5",
        "features/b/own/val.h5",
        "text/b/own.h5",
    ]


def test_applying_sees_every_test_file(tmp_path, own):
    tests = ["features/b/own/test.h5", "features/b/noise/test.h5"]
    assert names(plan.test_features(tmp_path, own(), "b", "own"), tmp_path) == tests
    scored = names(plan.score_input(tmp_path, own(), "b", "own", "tip_adapter"), tmp_path)
    labelled = ["features/b/own/train.h5", "features/b/own/val.h5"]
    assert scored == [*tests, *labelled, "mini/adapted/b/own/tip_adapter/apply.json"]
    by_any = names(plan.score_input(tmp_path, own(), "b", "own", "any"), tmp_path)
    assert by_any == [*tests, *labelled]


def test_score_files_are_one_a_method(tmp_path, own):
    assert names(plan.score_files(tmp_path, own()), tmp_path) == [
        f"mini/scores/b/own/{method}.parquet" for method in ("zero_shot", "tip_adapter", "any")
    ]


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 5), (9, 5), (10, 6)])
def test_a_backbone_has_figures_of_the_mean_of_several_id_sets_and_of_ranks_of_ten(count, expected):
    names = paths.figures_of_backbone(count)
    assert len(names) == expected
    assert ("ranks" in names) == (count >= 10)


def test_the_report_holds_tables_figures_a_page_and_the_digests_of_each(tmp_path, own):
    files = names(plan.report_files(tmp_path, own()), tmp_path)
    figures = len(paths.FIGURES) * len(paths.WIDTHS) * len(paths.FORMATS)
    assert len(set(files)) == len(files) == len(plan.TABLES) + 1 + figures + 1 + 3
    assert {f"mini/{part}.digests.json" for part in ("tables", "figures", "page")} < set(files)
    assert "mini/tables/b/own/main.tex" in files
    assert {"mini/figures/b/own/roc.pdf", "mini/figures/b/own/roc-column.pdf"} < set(files)
    assert "mini/report.html" in files
    assert set(names(plan.figure_files(tmp_path, own()), tmp_path)) < set(files)


def test_datasets_to_encode_by_their_splits(own, imported):
    assert plan.encoded(own()) == {("test",): ["noise"], ("train", "val", "test"): ["own"]}
    assert plan.encoded_texts(own()) == ["own"]
    assert plan.encoded(imported()) == {("test",): ["noise"]}
    assert plan.encoded_texts(imported()) == []


def test_imported_files_are_asked_for_where_they_are(tmp_path, imported, make_features):
    experiment = imported()
    files = plan.feature_files(tmp_path, experiment)
    assert names(files, tmp_path) == ["features/b/cache/test.h5", "features/b/noise/test.h5"]
    store.write_features(paths.features(tmp_path, "b", "cache", "train"), make_features())
    assert names(plan.fit_input(tmp_path, experiment, "b", "cache"), tmp_path) == ["features/b/cache/train.h5"]


@pytest.mark.parametrize("listed", [["a", "ab"], ["mcm@T=0.5", "mcm"], ["a.b"], ["a+b", "a"]])
def test_either_matches_these_names_and_nothing_else(listed):
    for name in listed:
        assert re.fullmatch(plan.either(listed), name)
    for name in ("", "b", "axb", "mcm@T=0x5", "aab", "a/ab"):
        assert not re.fullmatch(plan.either(listed), name)


def test_either_of_nothing_matches_nothing():
    assert not re.fullmatch(plan.either([]), "")
    assert not re.search(plan.either([]), "anything")


# ------------------------------------------------------------------------------------- what makes a file anew


def test_a_spec_says_what_a_job_depends_on_and_nothing_else(own):
    where = {"backbone": "b", "id_dataset": "own", "method": "tip_adapter"}

    def fit(**changes):
        return plan.spec(own(**changes), ("method", "fits"), **where)

    def scored(**changes):
        return plan.spec(own(**changes), ("method", "sets", "fits", "scores"), **where)

    more = {"ood": {"far": ["noise"], "near": ["digits"]}}
    assert fit() == fit(dataset=more) == fit(scores=["msp"])
    assert fit() != fit(shots=[1, 2, 4])
    assert fit() != fit(seeds=[1, 2])
    assert fit() == fit(methods=["tip_adapter", "coop"])
    assert scored() != scored(dataset=more)
    assert scored() != scored(scores=["mcm"])


def test_what_encoding_means_makes_scores_anew(own):
    def encoded(**changes):
        return plan.spec(own(**changes), ("encoded",), backbone="b", id_dataset="own", method="coop")

    assert encoded() == encoded(shots=[4], methods=["coop"])
    for change, *_ in CHANGES.values():
        assert encoded(**change) != encoded()


def test_a_spec_tells_variants_of_a_method_apart(own):
    experiment = own(methods=["coop", {"name": "coop", "epochs": 3}])
    specs = {plan.spec(experiment, ("method",), id_dataset="own", method=m) for m in ("coop", "coop@epochs=3")}
    assert len(specs) == 2
    assert plan.spec(experiment, ("method", "fits"), id_dataset="own", method="any")


def test_the_kind_of_a_pair_runs_evaluate_again(own):
    far, near = own(), own(dataset={"ood": {"near": ["noise"]}})
    assert plan.TRIGGERS["evaluate"]["spec"](far) != plan.TRIGGERS["evaluate"]["spec"](near)


def test_a_metric_that_is_asked_for_runs_evaluate_again_and_nothing_else(own):
    plain, asked = own(), own(metrics=["fpr@90"])
    place = {"backbone": "b", "id_dataset": "own", "method": "tip_adapter"}
    changed = {
        rule for rule, triggers in plan.TRIGGERS.items()
        if any(trigger(plain, **place) != trigger(asked, **place) for trigger in triggers.values())
    }  # fmt: skip
    assert changed == {"evaluate"}
    assert plan.TRIGGERS["evaluate"]["spec"](own(metrics=["fpr@90.0"])) == plan.TRIGGERS["evaluate"]["spec"](asked)


def test_a_corrected_overlap_in_the_catalogue_runs_evaluate_again(own, monkeypatch):
    experiment = own(dataset={"allow_overlap": True})
    before = plan.TRIGGERS["evaluate"]["spec"](experiment)
    monkeypatch.setattr(catalogue, "_overlaps", lambda: [{"pair": ["own", "noise"], "why": "found later"}])
    assert plan.TRIGGERS["evaluate"]["spec"](experiment) != before


def test_fingerprints_of_parts_of_the_report_differ_and_titles_and_looks_count(own, monkeypatch):
    experiment = own(methods=["coop"], scores=["mcm"])
    parts = ("tables", "figures", "page")
    codes = {plan.report_code(part, experiment) for part in parts}
    assert len(codes) == 3
    for kind, name, said in (("score", "mcm", {"title": "Mine"}), ("method", "coop", {"look": Look("#000000", "x")})):
        with monkeypatch.context() as changed:
            entry = registry.find(kind, name)
            changed.setitem(registry.entries(kind), name, replace(entry, **said))
            assert not codes & {plan.report_code(part, experiment) for part in parts}
        with monkeypatch.context() as changed:  # of what the experiment does not have
            other = replace(registry.find("score", "msp"), title="Mine")
            changed.setitem(registry.entries("score"), "msp", other)
            assert codes == {plan.report_code(part, experiment) for part in parts}
    assert plan.apply_code("coop") != plan.apply_code("zero_shot")


# ------------------------------------------------------------------------------------------ before the first job


def test_files_of_this_configuration_are_taken(tmp_path, own, make_features):
    encode(tmp_path, own(), make_features)
    plan.check_identities(tmp_path, own())
    plan.check_identities(tmp_path, own(methods=["coop"], shots=[4]))
    plan.check_identities(tmp_path / "empty", own())


CHANGES = {
    "interpolation": ({"backbone": {"interpolation": "bilinear"}}, "backbone.interpolation", "null", '"bilinear"'),
    "weights": ({"backbone": {"pretrained": "mine.pt"}}, "backbone.pretrained", '"openai"', '"file"'),
    "model": ({"backbone": {"model": "ViT-L-14-quickgelu"}}, "backbone.model", "ViT-B-32", "ViT-L-14"),
    "folder": ({"dataset": {"folder": "data/new"}}, "dataset.folder", '"data/own"', '"data/new"'),
    "shots to draw from": ({"dataset": {"splits": {"train": 9, "val": 1}}}, "dataset.splits.train", "2", "9"),
    "seed of the splits": ({"dataset": {"splits": {"train": 2, "val": 1, "seed": 5}}}, "splits.seed", "0", "5"),
    "class names": ({"dataset": {"classnames": ["x", "y"]}}, "classnames", "null", '["x", "y"]'),
    "templates": ({"dataset": {"templates": ["the {}"]}}, "text.templates", "a photo of a {}.", "the {}"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_files_of_another_meaning_are_refused_with_field_and_values(tmp_path, own, make_features, case):
    change, field, was, is_now = CHANGES[case]
    encode(tmp_path, own(), make_features)
    line = failure(plan.check_identities, tmp_path, own(**change))
    for part in (field, was, is_now, "another name"):
        assert part in line


@pytest.mark.parametrize("case", CHANGES)
def test_and_so_is_the_way_back(tmp_path, own, make_features, case):
    """Taking a line out of the config changes what its name means as much as writing it does."""
    change, field, was, is_now = CHANGES[case]
    encode(tmp_path, own(**change), make_features)
    line = failure(plan.check_identities, tmp_path, own())
    for part in (field, was, is_now):
        assert part in line


def test_a_damaged_file_is_named_before_any_job(tmp_path, own, make_features):
    encode(tmp_path, own(), make_features)
    bad = paths.features(tmp_path, "b", "noise", "test")
    bad.write_bytes(b"half")
    assert str(bad) in failure(plan.check_identities, tmp_path, own())


def import_cache(results, make_features, test="test", backbone="b"):
    provenance = {"backbone": {"name": backbone}, "imported": {"format": "tip-adapter", "test": test}}
    store.write_features(paths.features(results, "b", "cache", "test"), make_features(provenance=provenance))


def test_imported_files_are_taken(tmp_path, imported, make_features):
    import_cache(tmp_path, make_features)
    plan.check_identities(tmp_path, imported())
    plan.check_imports(tmp_path, imported())


def test_an_import_of_another_split_is_refused(tmp_path, imported, make_features):
    import_cache(tmp_path, make_features)
    line = failure(plan.check_identities, tmp_path, imported(test="val"))
    assert 'imported.test is "test" in the file and "val" in the config' in line


def test_an_import_under_another_backbone_is_refused(tmp_path, imported, make_features):
    import_cache(tmp_path, make_features, backbone="other")
    assert 'backbone.name is "other"' in failure(plan.check_identities, tmp_path, imported())


def test_an_import_by_hand_is_taken_whatever_it_holds(tmp_path, experiment_of, make_features):
    sets = [{"name": "cache", "imported": {}, "ood": {"far": ["noise"]}}]
    provenance = {"backbone": {"name": "b"}, "imported": {"format": "npz"}}
    store.write_features(paths.features(tmp_path, "b", "cache", "test"), make_features(provenance=provenance))
    plan.check_identities(tmp_path, parse(experiment_of(backbones=[OWN_BACKBONE], id_datasets=sets)))


def test_imported_texts_of_another_template_are_refused(tmp_path, imported, make_features):
    provenance = {"backbone": {"name": "b"}, "imported": {}, "text": {"templates": ["a {}"], "classnames": ["x"]}}
    values = make_features(n=1).image_features[None]
    store.write_texts(paths.texts(tmp_path, "b", "cache"), store.Texts(values, ["x"], ["a {}"], provenance))
    plan.check_identities(tmp_path, imported(templates=["a {}"]))
    assert "text.templates" in failure(plan.check_identities, tmp_path, imported(templates=["the {}"]))


def test_encoded_and_imported_do_not_stand_in_for_each_other(tmp_path, own, imported, make_features):
    encode(tmp_path, own(dataset={"name": "cache"}), make_features)
    assert "was encoded but the config wants it imported" in failure(plan.check_identities, tmp_path, imported())
    import_cache(tmp_path / "other", make_features)
    experiment = own(dataset={"name": "cache"})
    assert "was imported but the config wants it encoded" in failure(
        plan.check_identities, tmp_path / "other", experiment
    )


def test_a_missing_import_is_one_line_with_the_command(tmp_path, imported):
    line = failure(plan.check_imports, tmp_path, imported())
    assert "features/b/cache/test.h5" in line
    assert "oodgrid import experiment" in line


def test_a_report_from_cached_metrics_needs_no_import(tmp_path, imported):
    paths.metrics(tmp_path, "mini").parent.mkdir()
    paths.metrics(tmp_path, "mini").touch()
    plan.check_imports(tmp_path, imported())


def test_an_encoded_experiment_needs_no_import(tmp_path, own):
    plan.check_imports(tmp_path, own())


def test_the_configuration_of_the_jobs_is_named_by_its_content(tmp_path, experiment_of):
    raw = experiment_of(experiment="été")
    planned = plan.PlannedConfig.of(tmp_path, "mini", raw)
    assert not planned.path.exists()
    planned.write()
    os.utime(planned.path, (1, 1))
    before = planned.path.stat().st_ino
    plan.PlannedConfig.of(tmp_path, "mini", OrderedDict(raw)).write()
    assert planned.path.stat().st_ino == before
    assert planned.path.stat().st_mtime > 1  # the newest is the one that was planned last
    assert plan.PlannedConfig.of(tmp_path, "mini", {**raw, "shots": [4]}).path != planned.path


def test_the_configuration_of_the_jobs_means_the_same(tmp_path, experiment_of):
    from oodgrid.config import load

    raw = experiment_of(scores=[{"name": "mcm", "T": 0.5}])
    planned = plan.PlannedConfig.of(tmp_path, "mini", raw)
    planned.write()
    plan.check_planned(planned.path)
    assert load(planned.path) == parse(raw)
    again = yaml.safe_load(planned.path.read_text(encoding="utf-8"))
    assert plan.PlannedConfig.of(tmp_path, "mini", again) == planned  # what a job on another machine reads


def test_a_job_refuses_a_configuration_that_did_not_plan_it(tmp_path, experiment_of):
    planned = plan.PlannedConfig.of(tmp_path, "mini", experiment_of())
    assert "is gone" in failure(plan.check_planned, planned.path)
    planned.write()
    planned.path.write_text(planned.text + "# changed")
    assert "is not what planned this job" in failure(plan.check_planned, planned.path)
    plan.check_planned(tmp_path / "config.yaml")  # any other file is the user's own


@pytest.mark.parametrize("folder", ["it's", "a b", "$(touch x)", "{x}", "é", 'a"b', "a;b", "a\\b", "%s"])
def test_the_package_is_found_in_folders_of_any_name(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"/other/{folder}")
    line = plan.job_environment(Path("/clone") / folder / "src", None).format()  # as Snakemake does
    shown = subprocess.run(["bash", "-c", line + 'printf %s "$PYTHONPATH"'], capture_output=True, text=True, check=True)
    assert shown.stdout == f"/clone/{folder}/src:/other/{folder}"
    assert "PYTHONSAFEPATH=1" in line  # the trial of plugins runs so, and a job must import the same


@pytest.mark.parametrize("folder", ["bin", "it's", "a b", "$(touch x)", "{x}", 'a"b', "a;b", "a\\b"])
def test_jobs_run_under_the_given_interpreter_whatever_is_first_in_path(folder, tmp_path):
    python = tmp_path / folder / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s|" ours "$@"; exit 3\n')
    python.chmod(0o755)
    (tmp_path / "first").mkdir()
    (tmp_path / "first/python").symlink_to("/bin/false")
    variables = {"PATH": f"{tmp_path / 'first'}{os.pathsep}{os.environ['PATH']}"}
    command = "set -euo pipefail; {}python -m oodgrid 'a  b'"  # as Snakemake calls it
    for interpreter, output, status in ((str(python), "ours|-m|oodgrid|a  b|", 3), (None, "", 1)):
        line = plan.job_environment(Path("/clone/src"), interpreter).format()
        done = subprocess.run(["bash", "-c", command.format(line)], env=variables, capture_output=True, text=True)
        assert (done.stdout, done.returncode) == (output, status)


@pytest.fixture
def machine(monkeypatch):
    """A function that makes this machine one of so many CPUs, with or without a GPU."""

    def make(cpus, gpu=False):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
        monkeypatch.setattr(machines, "has_gpu", lambda: gpu)

    return make


@pytest.mark.parametrize("cores", [None, 1, 2, 64])
@pytest.mark.parametrize("gpus", [None, 0, 1, 2, 4])
def test_threads_of_jobs_that_run_at_once_fill_the_cpus_and_no_more(own, machine, cores, gpus):
    experiment = own(methods=["coop", "cocoop", "clip_adapter"])
    jobs = {"encode": 2, "adapt": 3, "score": len(grid.methods(experiment)), "evaluate": 1}
    for cpus in (1, 3, 16):
        for gpu in (False, True):
            machine(cpus, gpu)
            usable = min(cpus, cores or cpus)
            for stage, count in jobs.items():
                turns = gpu and gpus and stage in ("encode", "adapt")
                at_once = min(count, gpus) if turns else count
                threads = plan.threads_here(stage, experiment, cores, gpus)
                assert threads == max(1, usable // at_once)


def test_one_gpu_gives_each_of_many_jobs_all_cores_and_a_single_job_has_them_anyway(own, machine):
    many = own(methods=["coop", "cocoop"], shots=[1, 2, 4])
    machine(16, gpu=True)
    assert plan.threads_here("encode", many, 16, 1) == plan.threads_here("adapt", many, None, 1) == 16
    machine(8)
    assert plan.threads_here("score", own(methods=["coop"], scores=["mcm"]), 8, 1) == 8


@pytest.mark.parametrize("stage", plan.REQUESTS)
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_cluster_is_asked_for_the_same_wherever_the_asking_is_done(stage, device, own, machine):
    experiment = own(score_device=device)
    machine(1)
    asked = plan.request(stage, experiment, {})
    machine(64, gpu=True)
    outer = {"SLURM_CPUS_PER_TASK": "3", "HOME": "/"}  # the job of another, an outer one
    assert plan.request(stage, experiment, outer) == asked
    uses = bool(asked.gpu)
    assert uses == (stage in ("encode", "adapt") or (stage, device) == ("score", "gpu"))
    assert plan.gpu_here(stage, experiment) == uses
    if uses:  # jobs take turns, so that each has all cores
        assert plan.threads_here(stage, experiment, 16, 1) == 16
    machine(64)
    assert plan.gpu_here(stage, experiment) == 0
    assert asked.mem_mb > 0
    assert asked.runtime > 0


@pytest.mark.parametrize(
    ("given", "threads", "gpu"),
    [
        ({"SLURM_CPUS_PER_TASK": "3", "SLURM_GPUS_ON_NODE": "1"}, 3, 1),
        ({"SLURM_CPUS_PER_TASK": "3"}, 3, 0),
        ({"SLURM_GPUS_ON_NODE": "4"}, plan.REQUESTS["encode"].threads, 1),
        ({"SLURM_CPUS_PER_TASK": "128", "SLURM_GPUS_ON_NODE": "1"}, plan.REQUESTS["encode"].threads, 1),  # of a group
        ({"SLURM_CPUS_PER_TASK": "", "SLURM_GPUS_ON_NODE": ""}, plan.REQUESTS["encode"].threads, 0),
    ],
)
def test_on_a_node_a_job_has_what_slurm_gave_it(given, threads, gpu, own):
    found = plan.request("encode", own(), {"SLURM_JOB_ID": "7", **given})
    assert (found.threads, found.gpu) == (threads, gpu)


# -------------------------------------------------------------------------------------- files that must fit each other


def written(tmp_path, experiment, make_features, **changes):
    """Encode, then write one of the files again with a changed provenance."""
    encode(tmp_path, experiment, make_features)
    path = paths.features(tmp_path, "b", "own", "val")
    about = store.read_provenance(path)
    for place, value in changes.items():
        part = about
        *outer, last = place.split("__")
        for name in outer:
            part = part.setdefault(name, {})
        part[last] = value
    store.write_features(path, make_features(classes=2, provenance=about))


def test_labels_that_are_no_classes_are_found_before_the_first_job_all_in_one_go(tmp_path, own, make_features):
    encode(tmp_path, own(), make_features)
    plan.check_labels(tmp_path, own())
    for split, label in (("train", 2), ("test", 7), ("val", -1)):
        path = paths.features(tmp_path, "b", "own", split)
        labels = np.array([0, 1, label, 1, 0, label])
        store.write_features(path, make_features(labels=labels, provenance=store.read_provenance(path)))
    line = failure(plan.check_labels, tmp_path, own())
    assert "train.h5: row 2 has label 2, which is none of the 2 classes 0 to 1" in line
    assert (
        "test.h5: row 2 has label 7, which is none of the 2 classes 0 to 1, nor -1 for no class (2 rows in all)" in line
    )
    assert "val.h5" not in line


def test_files_of_one_backbone_made_with_other_weights_are_refused(tmp_path, own, make_features):
    written(tmp_path, own(), make_features, backbone__weights_sha256="def")
    line = failure(plan.check_identities, tmp_path, own())
    assert 'backbone.weights_sha256 is "def" in the file and "abc"' in line
    assert "does not fit" in line


def test_splits_of_other_classes_are_refused(tmp_path, own, make_features):
    written(tmp_path, own(), make_features, classnames=["x", "y"])
    assert "classnames" in failure(plan.check_identities, tmp_path, own())


def test_a_file_that_lacks_images_is_refused_unless_skipping_is_allowed(tmp_path, own, make_features):
    written(tmp_path, own(), make_features, skipped=[["a/broken.jpg", "why"]])
    line = failure(plan.check_identities, tmp_path, own())
    assert "lacks 1 broken image, the first a/broken.jpg" in line
    plan.check_identities(tmp_path, own(dataset={"on_error": "skip"}))


def test_means_of_the_config_are_those_of_the_file(tmp_path, own, make_features):
    experiment = own(backbone={"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]})
    encode(tmp_path, experiment, make_features)
    plan.check_identities(tmp_path, experiment)
    assert "backbone.mean" in failure(plan.check_identities, tmp_path, own())


def test_views_of_another_backbone_are_refused(tmp_path, own, make_features):
    experiment = own(dataset={"views": [{"family": "rrc08"}]})
    encode(tmp_path, experiment, make_features)
    about = store.read_provenance(paths.features(tmp_path, "b", "own", "train"))
    place = plan.views_file(tmp_path, experiment, "b", "own", experiment.id_datasets[0].views[0])
    view = np.ones((1, 1, 4), np.float32)
    store.write_views(place, store.NewViews(np.array([0]), view, about))
    plan.check_identities(tmp_path, experiment)
    about["backbone"]["interpolation"] = "bilinear"
    store.write_views(place, store.NewViews(np.array([0]), view, about))
    assert "backbone.interpolation" in failure(plan.check_identities, tmp_path, experiment)


# ---------------------------------------------------------------------------------------- what a job is about to read


@pytest.mark.parametrize("case", CHANGES)
def test_a_job_refuses_files_of_another_meaning_too(tmp_path, own, make_features, case):
    change, field, _, _ = CHANGES[case]
    encode(tmp_path, own(), make_features)
    plan.check_inputs(tmp_path, own(), "b", "own")
    assert field in failure(plan.check_inputs, tmp_path, own(**change), "b", "own")


def test_a_job_refuses_files_of_an_earlier_encoding(tmp_path, own, make_features):
    written(tmp_path, own(), make_features, encode_version=1)
    plan.check_identities(tmp_path, own())  # Snakemake makes it again, where it knows of it
    line = failure(plan.check_inputs, tmp_path, own(), "b", "own")
    assert f"version 1 and that of this oodgrid is {plan.ENCODE_VERSION}" in line
    assert "val.h5 is out of date" in line


@pytest.mark.parametrize(
    "change", [{"shots": [8]}, {"seeds": [2]}, {"count": 3}, {"seed": 7}, {"local_features": True}]
)
def test_views_of_another_kind_or_of_other_draws_lie_elsewhere(tmp_path, own, change):
    def place(**changes):
        draws = {key: value for key, value in changes.items() if key in ("shots", "seeds")}
        kind = {key: value for key, value in changes.items() if key not in draws}
        experiment = own(dataset={"views": [{"family": "rrc08", **kind}]}, **draws)
        return plan.views_file(tmp_path, experiment, "b", "own", experiment.id_datasets[0].views[0])

    assert place(**change) != place() == place()


# ----------------------------------------------------------------------------------------------- a clock that was ahead


def test_files_of_the_future_are_named_with_the_command_that_mends_them(tmp_path, own, make_features):
    results = tmp_path / "my results"
    encode(results, own(), make_features)
    plan.check_clock(results, own())
    features = sorted((results / "features").rglob("*.h5"))
    for file in features[1:]:
        os.utime(file, (time.time() + 5 * 86400,) * 2)
    line = failure(plan.check_clock, results, own())
    assert str(features[1]) in line
    assert f"and {len(features) - 2} other files" in line
    subprocess.run(line.split("right again: ")[1], shell=True, check=True)
    plan.check_clock(results, own())
    assert len({file.stat().st_mtime for file in features[1:]}) == 1  # in one order with what they were made of


def test_clocks_of_a_cluster_differ_by_seconds(tmp_path, own, make_features):
    encode(tmp_path, own(), make_features)
    for file in (tmp_path / "features").rglob("*.h5"):
        os.utime(file, (time.time() + 3,) * 2)
    plan.check_clock(tmp_path, own())
