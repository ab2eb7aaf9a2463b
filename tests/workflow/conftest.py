"""A clone of the project in a temporary folder, where whole runs may edit, break and kill what they like."""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[2]
PARTS = ("src", "workflow", "profiles", "experiments", "Snakefile", "config.yaml")
PATIENCE = 3600  # seconds for a command: the default experiment takes 10 minutes where others compute beside it


class Clone:
    """The clone, with the commands that a user types in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": path, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}

    def start(self, *command: str) -> subprocess.Popen:
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def run(self, *command: str, ok: bool = True) -> str:
        process = self.start(*command)
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # which leads a session of its own
            raise
        assert (process.returncode == 0) == ok, f"{' '.join(command)} exited {process.returncode}:\n{output}"
        return output

    def snakemake(self, *arguments: str, ok: bool = True) -> str:
        return self.run("snakemake", "--cores", "2", *arguments, ok=ok)

    def planned(self, *arguments: str) -> set[str]:
        """Return the rules of the jobs that a run would do now."""
        return rules_in(self.snakemake("-n", *arguments))

    def write(self, experiment: dict, name: str = "config.yaml") -> None:
        (self.folder / name).write_text(yaml.safe_dump(experiment), encoding="utf-8")

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text(encoding="utf-8")
        assert old in text
        (self.folder / file).write_text(text.replace(old, new), encoding="utf-8")

    def times(self, pattern: str) -> dict[str, int]:
        results = self.folder / "results"
        return {str(path.relative_to(results)): path.stat().st_mtime_ns for path in sorted(results.glob(pattern))}

    def metrics(self, experiment: str = "mini") -> pl.DataFrame:
        return pl.read_parquet(self.folder / "results" / experiment / "metrics.parquet")


def rules_in(output: str) -> set[str]:
    """Return the rules of the jobs that a dry run has listed."""
    stats = output.split("Job stats:")[1].split("total")[0]
    return set(re.findall(r"^(\w+) +\d+$", stats, re.M)) - {"all"}


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """What many tests begin with, made once, whichever worker needs it first, and copied with its times."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers

    def copied(name: str, make: Callable[[Clone], object], at: Path) -> Clone:
        first = folder / name
        with FileLock(folder / f"{name}.lock"):
            if not first.exists():
                shutil.rmtree(at, ignore_errors=True)
                make(Clone(at))
                at.rename(first)
        subprocess.run(["cp", "-a", first, at], check=True)  # -a: hard links stay hard links
        return Clone(at)

    return copied


@pytest.fixture
def whole(tmp_path: Path) -> Clone:
    """The project as a user clones it."""
    clone = Clone(tmp_path / "clone")
    copy_of_project(clone)
    return clone


@pytest.fixture
def clone(built, tmp_path: Path) -> Clone:
    """The same, but that it draws no PDF, whose fonts take nearly half of drawing."""
    return built("clone", clone_of_project, tmp_path / "clone")


def clone_of_project(clone: Clone) -> None:
    copy_of_project(clone)
    clone.edit("src/oodgrid/paths.py", 'FORMATS = ("pdf", "svg", "png")', 'FORMATS = ("svg", "png")')


def copy_of_project(clone: Clone) -> None:
    clone.folder.mkdir()
    for part in PARTS:
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, clone.folder / part)


EXPERIMENT = {
    "experiment": "mini",
    "backbones": ["clip-vit-b32"],
    "id_datasets": [
        {
            "name": "own",
            "imported": {},
            "text": "visual_prototypes",
            "ood": {"near": [{"name": "other", "imported": {}}]},
        }
    ],
    "methods": ["zero_shot", "prototype", "tip_adapter"],
    "shots": [1, 2],
    "seeds": [1],
    "scores": ["mcm", "knn"],
}


@pytest.fixture
def imported(built, tmp_path: Path) -> tuple[Clone, dict]:
    """A clone with small imported features: everything but encoding, in seconds and without torch."""
    return built("imported", _imported, tmp_path / "clone"), copy.deepcopy(EXPERIMENT)


@pytest.fixture
def evaluated(built, tmp_path: Path) -> tuple[Clone, dict]:
    """The same after `snakemake metrics`."""
    return built("evaluated", _evaluated, tmp_path / "clone"), copy.deepcopy(EXPERIMENT)


@pytest.fixture
def reported(built, tmp_path: Path) -> tuple[Clone, dict]:
    """The same after `snakemake`."""
    return built("reported", _reported, tmp_path / "clone"), copy.deepcopy(EXPERIMENT)


def _imported(clone: Clone) -> None:
    clone_of_project(clone)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 16))
    for split, count in (("train", 6), ("val", 3), ("test", 20)):
        labels = np.repeat(np.arange(5), count)
        _import(clone, "own", split, centres[labels] + rng.normal(size=(len(labels), 16)), labels)
    for name in ("other", "another"):
        _import(clone, name, "test", rng.normal(size=(60, 16)), np.full(60, -1))
    clone.write(EXPERIMENT)


def _evaluated(clone: Clone) -> None:
    _imported(clone)
    clone.snakemake("metrics")


def _reported(clone: Clone) -> None:
    _imported(clone)
    clone.snakemake()


def _import(clone: Clone, name: str, split: str, features: np.ndarray, labels: np.ndarray) -> None:
    file = clone.folder / f"{name}-{split}.npz"
    np.savez(file, image_features=features.astype(np.float32), labels=labels)
    names = ("--backbone", "clip-vit-b32", "--dataset", name, "--split", split)
    clone.run("oodgrid", "import", "npz", str(file), *names)
