"""Machine, cores, memory and GPU."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from oodgrid import grid, plan, rates
from oodgrid.config import Experiment
from oodgrid.health.findings import NOTE, OK, UNFIT, Finding

CGROUP = Path("/sys/fs/cgroup")
OLDEST, NEWEST = (3, 11), (3, 13)  # Python, as in pyproject.toml


def of_machine() -> Iterator[Finding]:
    """Yield what machine this is, and whether its Python will do."""
    version = ".".join(map(str, sys.version_info[:3]))
    text = f"{socket.gethostname()}, {platform.system()} {platform.release()}, {platform.machine()}, Python {version}"
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        wanted = " to ".join(f"{major}.{minor}" for major, minor in (OLDEST, NEWEST))
        yield Finding("machine", UNFIT, text, f"use Python {wanted}")
        return
    yield Finding("machine", OK, text)
    if locale := os.environ.get("SLURM_JOB_ID"):
        yield Finding("machine", NOTE, f"this is within Slurm job {locale}, and counts what that job was given")


def of_cores() -> Iterator[Finding]:
    """Yield how many CPUs jobs may use."""
    cpus, every = plan.cpus_here(), os.cpu_count() or 1
    of_all = f" of {every}" if every != cpus else ""
    quota = _cpu_quota()
    if quota is not None and quota < cpus:
        text = f"{cpus}{of_all}, but this container may use {quota:.1f} at a time"
        yield Finding("cores", NOTE, text, f"use --cores {max(1, int(quota))}")
        return
    yield Finding("cores", OK, f"{cpus}{of_all}")


def of_memory(results: Path, experiment: Experiment | None) -> Iterator[Finding]:
    """Yield how much memory is free, and whether the largest job of an experiment has enough."""
    free, total = _memory()
    if not total:
        yield Finding("memory", NOTE, "this system does not say how much there is")
        return
    text = f"{free / 1e9:.1f} GB free of {total / 1e9:.1f} GB"
    if experiment is None:
        yield Finding("memory", OK, text)
        return
    most = max(_jobs(results, experiment))
    text = f"{text}; the largest job takes about {most / 1000:.1f} GB"
    if most * 1e6 > total:
        yield Finding("memory", UNFIT, text, "use a machine with more memory, or fewer images (limit:)")
    elif most * 1e6 > free:
        yield Finding("memory", NOTE, text, "end other programs, or use fewer --cores")
    else:
        yield Finding("memory", OK, text)


def _jobs(results: Path, experiment: Experiment) -> Iterator[int]:
    """Yield the MB that each kind of job takes, by what such jobs took here, or else by a safe guess."""
    works = rates.read(results)
    for backbone in experiment.backbones if plan.unencoded(results, experiment) else ():
        yield plan.memory_here(works, "encode", backbone.name)
    for method in grid.methods(experiment):
        yield from (plan.memory_here(works, stage, method) for stage in ("adapt", "score"))
    yield from (plan.memory_here(works, stage, "") for stage in ("evaluate", "report"))


def of_gpu(experiment: Experiment | None) -> Iterator[Finding]:
    """Yield which GPUs torch finds; torch is asked only where there is a driver, for importing it takes seconds."""
    if not plan.has_gpu():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        why = "CUDA_VISIBLE_DEVICES is empty" if hidden else "no NVIDIA driver here"
        encodes = experiment is not None and any(not dataset.imported for dataset in experiment.datasets())
        if experiment is not None and experiment.score_device == "gpu":
            text = f"none: {why}; score_device: gpu asks for one, and jobs that score stop where there is none"
            yield Finding("gpu", NOTE, text, "take score_device out, unless jobs run on machines with a GPU")
        else:
            yield Finding("gpu", NOTE if encodes else OK, f"none: {why}; jobs run on the CPU")
        return
    try:
        import torch
    except ImportError:
        yield Finding("gpu", NOTE, "there is a driver, and no torch to use it", "pip install 'oodgrid[encode]'")
        return
    if not torch.cuda.is_available():
        text = f"there is a driver, but torch {torch.__version__} finds no GPU"
        yield Finding("gpu", NOTE, text, "install a torch that was built for this driver's CUDA")
        return
    names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    yield Finding("gpu", OK, ", ".join(f"{each.name} ({each.total_memory / 1e9:.0f} GB)" for each in names))


def _memory() -> tuple[float, float]:
    """Return the bytes of memory that are free and all there are, of this container if it has less; 0 if unknown."""
    free = total = 0.0
    with suppress(OSError, ValueError, KeyError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free, total = (1024.0 * int(lines[key].split()[0]) for key in ("MemAvailable", "MemTotal"))
    if not total:
        with suppress(ImportError):
            import psutil

            its = psutil.virtual_memory()
            free, total = its.available, its.total
    with suppress(OSError, ValueError, KeyError):
        limit = float((CGROUP / "memory.max").read_text())
        counted = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        # Files that were read stay in memory as long as nobody needs it: they are no use of it.
        used = float((CGROUP / "memory.current").read_text()) - float(counted["inactive_file"])
        free, total = min(free, max(0.0, limit - used)), min(total, limit)
    return free, total


def _cpu_quota() -> float | None:
    """Return how many CPUs a container may use at a time; None where nothing bounds it."""
    with suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return float(quota) / float(period)
    return None
