"""The documented Slurm command, typed as it stands, on a Slurm that the test starts on this machine."""

from __future__ import annotations

import os
import re

import pytest

from oodgrid.plan import REQUESTS
from tests.workflow import loopback_slurm
from tests.workflow.conftest import PATIENCE

EXPERIMENT = {
    "experiment": "mini",
    "backbones": ["tiny"],
    "id_datasets": [{"name": "concepts", "ood": {"near": ["concepts-unseen-shapes"]}}],
    "methods": [{"name": "coop", "epochs": 1}],
    "shots": [1],
    "seeds": [1],
    "scores": ["mcm"],
}
STAGES = {"encode": "encode", "fit": "adapt", "apply": "adapt", "score": "score", "evaluate": "evaluate"}
DOCUMENTED = ("snakemake", "--profile", "profiles/slurm")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with loopback_slurm.running(tmp_path_factory.mktemp("plugin")) as environment:
        yield environment


@pytest.fixture
def typed(clone, slurm):
    """Type a command in the clone, and return what it said."""
    clone.env.pop("OMP_NUM_THREADS")
    if slurm:
        clone.env["PYTHONPATH"] += os.pathsep + slurm["PYTHONPATH"]

    def run(*command, ok=True):
        process = clone.start(*command)
        output, _ = process.communicate(timeout=PATIENCE)
        assert (process.returncode == 0) == ok, output
        return output

    return run


def rule_of(job):
    return re.match(r"rule_(\w+?)(_wildcards_.*)?$", job["Comment"])[1]


@pytest.mark.slurm
def test_the_documented_command_runs_an_experiment_and_no_other_command_runs_it_again(clone, typed):
    clone.write(EXPERIMENT, "experiments/mini.yaml")
    this = (*DOCUMENTED, "--configfile", "experiments/mini.yaml")
    typed(*this, "-n")
    output = typed(*this)
    assert clone.metrics()["status"].to_list() == ["ok"]
    asked = {rule_of(job): job for job in loopback_slurm.jobs()}
    assert {"encode_train_val_test", "encode_test", "encode_texts", "fit", "apply", "score", "page"} <= asked.keys()
    for rule, fields in asked.items():
        request = REQUESTS[STAGES.get(rule.split("_")[0], "report")]
        assert fields.get("TresPerJob", "").endswith("gpu:1") == bool(request.gpu), (rule, fields)
        assert fields["JobName"].startswith("oodgrid_")
        assert int(fields["CPUs/Task"]) == request.threads, (rule, fields)  # whatever this machine has
        assert fields["MinMemoryNode"] == f"{request.mem_mb}M", (rule, fields)
    submitted = output[: output.index("Finished jobid")]
    assert submitted.count("rule encode_") > 1  # each has a GPU of its own: none waits for another
    assert "rule score:" in output  # jobs are named
    assert "Nothing to be done" in typed(*this)
    assert "Nothing to be done" in typed("snakemake", "--cores", "2", "--configfile", "experiments/mini.yaml")
    assert "Nothing to be done" in typed(*this, "--cores", "1")


@pytest.mark.slurm
def test_a_failing_job_is_named_with_its_log_and_tried_again_with_more_memory(imported, typed):
    clone, _ = imported
    clone.edit("src/oodgrid/adapt/methods/prototype.py", "return Learned(", "raise MemoryError('!') or (")
    before = {job["JobId"] for job in loopback_slurm.jobs()}
    output = typed(*DOCUMENTED, "--resources", "gpu=0", ok=False)  # as where no node has a GPU
    jobs = [job for job in loopback_slurm.jobs() if job["JobId"] not in before]
    assert not [job for job in jobs if "TresPerJob" in job]
    log = "results/mini/logs/adapt/clip-vit-b32/own/prototype.fit.log"
    assert re.search(rf"Error in rule fit:\n(    .*\n)*?    log: {log}, \S+/slurm_logs/\S+\.log", output)
    assert f"oodgrid: failed: fit of clip-vit-b32, own, prototype, see {log}\n" in output  # in short, at the end
    assert (clone.folder / log).read_text().startswith("oodgrid: ")
    fits = sorted((job for job in jobs if job["Comment"].endswith("own_prototype")), key=lambda job: int(job["JobId"]))
    assert [job["MinMemoryNode"] for job in fits] == ["16000M", "32000M", "48000M"]
    assert list((clone.folder / "results/mini/scores").rglob("tip_adapter.parquet"))  # what can, goes on
