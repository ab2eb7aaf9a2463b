"""The documented Slurm command, typed as it stands, on a Slurm that the test starts on this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from oodgrid.plan import REQUESTS
from tests.workflow import loopback_slurm
from tests.workflow.conftest import PATIENCE, Clone

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
# Soon asked after, so that the tests take less long.
SCORES = (*DOCUMENTED, "scores", "--slurm-init-seconds-before-status-checks", "5")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with loopback_slurm.running(tmp_path_factory.mktemp("plugin")) as cluster:
        yield cluster


@pytest.fixture
def typed(tmp_path, slurm):
    """Type a command in the clone of the test, and return what it said; `typed.start` does not wait for its end."""
    clone = Clone(tmp_path / "clone")
    clone.env.pop("OMP_NUM_THREADS")
    if slurm.environment:
        clone.env["PYTHONPATH"] += os.pathsep + slurm.environment["PYTHONPATH"]

    started = []

    def start(*command):
        started.append(clone.start(*command))
        return started[-1]

    def run(*command, ok=True):
        process = start(*command)
        output, _ = process.communicate(timeout=PATIENCE)
        assert (process.returncode == 0) == ok, output
        return output

    run.start = start
    yield run
    for process in started:
        if process.poll() is None:  # each leads a session of its own
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def faulty(imported, monkeypatch):
    """A function that makes a clone in which fits meet faults, and a job of adapt may take a GB at first."""
    clone, experiment = imported
    clone.edit("src/oodgrid/plan/machines.py", "threads=4, mem_mb=16_000", "threads=1, mem_mb=1_000")
    shutil.copy(Path(__file__).with_name("faulty.py"), clone.folder)
    faults = clone.folder.parent / "faults"
    faults.mkdir()
    monkeypatch.setenv("FAULTS", str(faults))

    def meeting(*names):
        methods = [{"name": "faulty", "fault": name} for name in names]
        clone.write(experiment | {"plugins": ["faulty.py"], "methods": methods, "scores": ["mcm"]})
        return clone, faults

    return meeting


class Watched:
    """A run with faults, and what a hand from outside does in it.

    Attributes:
        run: The command.
    """

    def __init__(self, faults, typed, *options):
        self.faults = faults
        self._known = {job["JobId"] for job in loopback_slurm.jobs()}
        self.run = typed.start(*SCORES, *options)

    def ended(self):
        """Return the exit status of the command and what it said."""
        output, _ = self.run.communicate(timeout=PATIENCE)
        return self.run.returncode, output

    def jobs(self, fault):
        """Return the jobs of this run that met a fault, in the order in which Slurm got them."""
        new = [job for job in loopback_slurm.jobs() if job["JobId"] not in self._known]
        of_fault = [job for job in new if rule_of(job) == "fit" and job["Comment"].endswith(f"={fault}")]
        return sorted(of_fault, key=lambda job: int(job["JobId"]))

    def struck(self, fault, times=1):
        """Wait until a fault has struck so many times, and return the last job that it met."""
        end = time.monotonic() + PATIENCE
        while fits(self.faults)[f"{fault} 2 begins"] < times:
            assert self.run.poll() is None, self.ended()
            assert time.monotonic() < end
            time.sleep(0.5)
        return self.jobs(fault)[-1]


def scored(clone):
    """Return the faults in spite of which there are scores."""
    return {table.stem.split("=")[1] for table in (clone.folder / "results/mini/scores").rglob("*.parquet")}


def fits(faults):
    """Return how often each fit began and ended."""
    file = faults / "fits"
    return Counter(file.read_text().splitlines() if file.exists() else [])


def fitted(**begun):
    """Return what `fits` is where each fit was finished once and the second of a fault began so many times."""
    once = {f"{fault} {what}": 1 for fault in begun for what in ("1 begins", "1 ends", "2 ends")}
    return once | {f"{fault} 2 begins": times for fault, times in begun.items()}


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
        assert fields["TimeLimit"] == f"{request.runtime // 60:02}:00:00", (rule, fields)
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


@pytest.mark.slurm
def test_jobs_beyond_their_memory_or_time_are_tried_again_with_more_and_what_was_finished_stays(faulty, slurm, typed):
    """And a job that a person cancels, until the run gives it up; the same command then does what is missing."""
    clone, faults = faulty("memory", "time", "cancel")
    watched = Watched(faults, typed)
    loopback_slurm.shorten(watched.struck("time"))
    (faults / "time-mended").touch()
    for times in (1, 2, 3):
        loopback_slurm.cancel(watched.struck("cancel", times))
    status, output = watched.ended()
    assert status == 1
    greedy, slow, cancelled = map(watched.jobs, ("memory", "time", "cancel"))
    assert [(job["JobState"], job["MinMemoryNode"]) for job in greedy] == [("FAILED", "1000M"), ("COMPLETED", "2000M")]
    assert [job["JobState"] for job in slow] == ["TIMEOUT", "COMPLETED"]
    assert slow[1]["TimeLimit"] == "08:00:00"
    assert [job["JobState"] for job in cancelled] == ["CANCELLED"] * 3
    beyond = "oom-kill event" if slurm.by_kernel else "exceeded memory limit"
    for fault, failures, why in (
        ("memory", 1, beyond),
        ("time", 1, "DUE TO TIME LIMIT"),
        ("cancel", 3, "CANCELLED AT"),
    ):
        log = f"results/mini/logs/adapt/clip-vit-b32/own/faulty@fault={fault}.fit.log"
        named = re.findall(rf"Error in rule fit:\n(?:    .*\n)*?    log: {log}, (\S+/slurm_logs/\S+\.log)", output)
        assert len(named) == failures, output
        assert re.search(why, Path(named[0]).read_text())  # Slurm's
    assert output.count("oodgrid: failed: ") == 1
    assert "oodgrid: failed: fit of clip-vit-b32, own, faulty@fault=cancel, " in output
    assert scored(clone) == {"memory", "time"}  # what can, goes on

    kept = clone.times("kept/fit/**/*.*")
    (faults / "cancel-mended").touch()
    typed(*SCORES)
    assert scored(clone) == {"memory", "time", "cancel"}
    assert fits(faults) == fitted(memory=2, time=2, cancel=4)
    assert kept and clone.times("kept/fit/**/*.*").items() >= kept.items()
    assert "Nothing to be done" in typed(*SCORES)


@pytest.mark.slurm
def test_the_jobs_of_a_node_that_dies_are_done_by_another(faulty, slurm, typed):
    """And temporary files lie where the command says."""
    clone, faults = faulty("node")
    scratch = clone.folder / "scratch"
    watched = Watched(faults, typed, "--default-resources", f"tmpdir='{scratch}'")
    node = watched.struck("node")["NodeList"]
    slurm.kill(node)
    (faults / "node-mended").touch()
    status, output = watched.ended()
    assert status == 0, output
    assert fits(faults) == fitted(node=2)
    (done,) = watched.jobs("node")  # Slurm has started it again, and Snakemake has not
    assert done["JobState"] == "COMPLETED" and done["Restarts"] == "1" and done["NodeList"] != node
    assert scored(clone) == {"node"}
    assert (faults / "tmpdir").read_text() == str(scratch)
    slurm.start(node)
    assert "Nothing to be done" in typed(*SCORES)


@pytest.mark.slurm
def test_experiments_run_side_by_side_in_one_clone(imported, typed):
    clone, experiment = imported
    small = experiment | {"methods": ["prototype"], "scores": ["mcm"]}
    clone.write(small)
    clone.write(small | {"experiment": "second", "seeds": [2]}, "second.yaml")
    commands = [(*SCORES, "--configfile", file) for file in ("config.yaml", "second.yaml")]
    runs = [typed.start(*command) for command in commands]
    outputs = [run.communicate(timeout=PATIENCE)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    began, ended = {}, {}
    for job in loopback_slurm.jobs():  # in the queue under the name of their run
        began[job["JobName"]] = min(job["SubmitTime"], began.get(job["JobName"], "9"))
        ended[job["JobName"]] = max(job["EndTime"], ended.get(job["JobName"], ""))
    first, second = sorted(began, key=began.get)[-2:]
    assert began[second] < ended[first]
    for command in commands:
        assert "Nothing to be done" in typed(*command)
