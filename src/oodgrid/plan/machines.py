"""What jobs compute with: their share of this machine, or what they ask a cluster for and its node gives them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from oodgrid import grid, rates, registry, threads
from oodgrid.config import Experiment
from oodgrid.environment import whole_number
from oodgrid.foreseen import used_anywhere


@dataclass(frozen=True)
class Request:
    """What one job of a stage asks a cluster for.

    Attributes:
        threads: CPUs of the node.
        mem_mb: Memory at the first attempt; the second asks for twice as much, and so on.
        runtime: Minutes, of which later attempts ask for more as well. A job that is stopped there loses little: the
            next attempt finds what was kept.
        gpu: 1 where the stage can use one; to score it does only under `score_device: gpu` (`requests`).
    """

    threads: int
    mem_mb: int
    runtime: int
    gpu: int = 0


REQUESTS = {
    "encode": Request(threads=8, mem_mb=16_000, runtime=240, gpu=1),
    "adapt": Request(threads=4, mem_mb=16_000, runtime=240, gpu=1),
    "score": Request(threads=4, mem_mb=16_000, runtime=240),
    "evaluate": Request(threads=8, mem_mb=4_000, runtime=240),
    "report": Request(threads=1, mem_mb=8_000, runtime=60),
}


KINDS = {"adapt": ("fit", "apply")}  # of jobs of a stage, where it has several
# MB of a job on this machine before any was measured here: at ImageNet's size, of a ViT-B (docs/running.md)
MEMORY = {"encode": 3000, "adapt": 2500, "score": 2500, "evaluate": 1000, "report": 1000}


def memory_here(works: list[rates.Work], stage: str, what: str) -> int:
    """Return the MB that a job needs on this machine: a quarter more than any such job took here, or a safe guess.

    Args:
        works: What was measured here.
        stage: Of the job.
        what: The backbone or method that works.
    """
    kinds = KINDS.get(stage, (stage,))
    peaks = [work.peak for work in works if work.stage in kinds and work.what == what]
    return round(1.25 * max(peaks)) if any(peaks) else MEMORY[stage]


def requests(experiment: Experiment) -> dict[str, Request]:
    """Return what the jobs of each stage ask for."""
    gpu = int(experiment.score_device == "gpu")
    return REQUESTS | {"score": replace(REQUESTS["score"], gpu=gpu)}


def scores_load_torch(experiment: Experiment) -> bool:
    """Return whether jobs that score need torch: to compute on a GPU, or for a text tower."""
    asking = [score for score in experiment.scores if "text_tower" in registry.find("score", score.name).needs]
    used = [used_anywhere(experiment, each.name, experiment.id_datasets) for each in experiment.backbones if asking]
    return experiment.score_device == "gpu" or any(score in scores for scores in used for score in asking)


def request(stage: str, experiment: Experiment, environment: Mapping[str, str]) -> Request:
    """Return what a job of `stage` asks for; in the environment of a Slurm job, what it has of that.

    Where a job of Slurm's does several of ours, a group, it was given the CPUs of all of them.

    Raises:
        OodgridError: A variable of Slurm's is no number.
    """
    asked = requests(experiment)[stage]
    if "SLURM_JOB_ID" not in environment:
        return asked
    cpus = min(asked.threads, whole_number("SLURM_CPUS_PER_TASK", asked.threads, environment))
    gpu = min(asked.gpu, whole_number("SLURM_GPUS_ON_NODE", 0, environment, least=0))
    return replace(asked, threads=cpus, gpu=gpu)


def gpu_here(stage: str, experiment: Experiment) -> int:
    """Return 1 where the stage can use a GPU and this machine has one of NVIDIA's, so that jobs take turns on it."""
    return min(requests(experiment)[stage].gpu, int(has_gpu()))


def has_gpu() -> bool:
    """Return whether this machine has a GPU of NVIDIA's that jobs may use."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":  # the user wants none used
        return False
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


@cache
def warn_of_cuda() -> None:
    """Say once, where jobs of a cluster ask for GPUs and this machine has none, that conda finds no torch for them."""
    if not has_gpu() and "CONDA_OVERRIDE_CUDA" not in os.environ:
        print(
            "oodgrid: jobs ask for GPUs, and conda sees none here: set CONDA_OVERRIDE_CUDA to the CUDA version of the"
            " nodes' driver (nvidia-smi there shows it), or --resources gpu=0 for torch on CPUs",
            file=sys.stderr,
        )


def cpus_here(cores: int | None = None) -> int:
    """Return how many CPUs of this machine jobs may use, where the user gave them `cores`."""
    return min(threads.cpus(), cores or threads.cpus())


def threads_here(stage: str, experiment: Experiment, cores: int | None, gpus: int | None) -> int:
    """Return the threads of a job of `stage` on this machine: its CPUs shared out among the jobs that run at once.

    One thread for each of many jobs does more than many threads for one job after the other, which is why jobs that
    take turns on `gpus` GPUs, and so do run one after the other, get more.
    """
    cpus = cpus_here(cores)
    pairs = len(experiment.backbones) * len(experiment.id_datasets)
    jobs = {
        "encode": len(experiment.backbones) * len({dataset.name for dataset in experiment.datasets()}),
        "adapt": pairs * len(experiment.methods),
        "score": pairs * len(grid.methods(experiment)),
        "evaluate": 1,
    }
    at_once = jobs.get(stage, cpus)
    if gpus and gpu_here(stage, experiment):
        at_once = min(at_once, gpus)
    return max(1, cpus // at_once)
