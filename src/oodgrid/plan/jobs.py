"""What jobs are given: the configuration as a file, threads, a GPU."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from oodgrid import grid, store
from oodgrid.config import Experiment


def config_path(results: Path, experiment: str) -> Path:
    """Return where the configuration of an experiment lies for its jobs."""
    return results / experiment / "config.yaml"


def write_config(results: Path, experiment: str, config: dict[str, Any]) -> None:
    """Write down what the jobs are to read, with what the command line changed; untouched where it is the same."""
    path = config_path(results, experiment)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with store.atomic(path) as beside:
            beside.write_text(text, encoding="utf-8")


def gpu_per_job() -> int:
    """Return 1 where this machine has an NVIDIA GPU, so that its jobs take turns on it, and 0 elsewhere."""
    return int(Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None)


def threads(cores: int | None, experiment: Experiment) -> dict[str, int]:
    """Return the threads of the jobs of each stage: the CPUs shared out among as many jobs as there are.

    One thread for each of many jobs does more than many threads for one job after the other.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpus = min(cpus, cores or cpus)
    pairs = len(experiment.backbones) * len(experiment.id_datasets)
    jobs = {
        "encode": len(experiment.backbones) * len({dataset.name for dataset in experiment.datasets()}),
        "adapt": pairs * len(experiment.methods),
        "score": pairs * len(grid.methods(experiment)),
    }
    return {stage: max(1, cpus // count) for stage, count in jobs.items()}
