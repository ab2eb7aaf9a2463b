"""What planning costs, and what every job pays before it computes anything, in CPU seconds.

Plans the full study (5 ID sets, 3 backbones, 20 methods, 5 shots, 3 seeds, all scores), runs a small experiment on
made-up imported features, then plans it again with nothing to do, and starts every verb on it once more. Beside them
stands what Snakemake alone costs, for a Snakefile with one rule. Prints a table; writes benchmarks/planning.json.

    python benchmarks/planning.py [--source FOLDER] [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from machine import describe

ROOT = Path(__file__).parents[1]
PLAN = ("-m", "snakemake", "--cores", "2", "-n", "-q", "all")
RUN = ("-m", "snakemake", "--cores", "2", "-q", "all")
ALONE = 'rule all:\n    output: "x"\n    shell: "touch x"\n'
PLACE = ("--backbone", "clip-vit-b32", "--id-dataset", "own", "--method", "tip_adapter")
VERBS = {
    "oodgrid adapt fit": ("adapt", "fit", *PLACE),
    "oodgrid adapt apply": ("adapt", "apply", *PLACE),
    "oodgrid score": ("score", *PLACE),
    "oodgrid evaluate": ("evaluate",),
    "oodgrid report tables": ("report", "tables"),
    "oodgrid report figures": ("report", "figures"),
    "oodgrid report page": ("report", "page"),
}
ROWS = "import sys; from pathlib import Path; from oodgrid import config, grid; e = config.load(Path('config.yaml'));"


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=ROOT, help="the checkout to measure; default: this one")
    parser.add_argument("--repeats", type=int, default=3, help="of which the best counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.source.resolve(), Path(folder), options.repeats)
    for name, seconds in found.items():
        print(f"{name:48} {seconds:8.2f}")
    result = {"cpu_s": found, "repeats": options.repeats, "load": os.getloadavg()[1], "machine": describe()}
    (ROOT / "benchmarks" / "planning.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(source: Path, folder: Path, repeats: int) -> dict[str, float]:
    """Return CPU seconds by what was done, of one checkout."""
    environment = {**os.environ, "PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1"}

    def cpu(place: Path, *arguments: str, times: int = repeats) -> float:
        return min(_cpu_seconds([sys.executable, *arguments], place, environment) for _ in range(times))

    alone, full, small = folder / "alone", _clone(source, folder / "full"), _clone(source, folder / "small")
    alone.mkdir()
    (alone / "Snakefile").write_text(ALONE, encoding="utf-8")
    (full / "config.yaml").write_text(yaml.safe_dump(full_study(source)), encoding="utf-8")
    found = {
        "python": cpu(alone, "-c", "pass"),
        "import numpy, pydantic, yaml": cpu(alone, "-c", "import numpy, pydantic, yaml"),
        "load the full study's config": cpu(full, "-c", ROWS),
        "load it and go over its rows": cpu(full, "-c", f"{ROWS} sum(1 for _ in grid.rows(e))"),
        "snakemake alone, one rule": cpu(alone, *PLAN),
        "plan the full study": cpu(full, *PLAN),
    }
    _import_features(small, environment)
    found["run a small experiment"] = cpu(small, *RUN, times=1)
    found["plan it with nothing to do"] = cpu(small, *PLAN)
    return found | {name: cpu(small, "-m", "oodgrid", *verb) for name, verb in VERBS.items()}


def full_study(source: Path) -> dict[str, Any]:
    """Return the experiment: methods and scores of the two large ones, on sets that are generated and need no file."""
    methods, scores = (
        yaml.safe_load((source / "experiments" / f"all-{what}.yaml").read_text(encoding="utf-8"))
        for what in ("methods", "scores")
    )
    concepts = {"group": "id", "train": 20, "val": 8}
    own, backbone = methods["id_datasets"][0], methods["backbones"][0]
    variants = [each for each in methods["methods"] if isinstance(each, dict) and each["name"] == "coop"][1:]
    return {
        **methods,
        "experiment": "full",
        "backbones": [{**backbone, "name": f"backbone-{number}"} for number in range(3)],
        "id_datasets": [
            {**own, "name": f"set-{number}", "concept_world": {**concepts, "test": 40 + number}} for number in range(5)
        ],
        "methods": [each for each in methods["methods"] if each not in variants],
        "scores": scores["scores"],
    }


def _clone(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for part in ("src", "workflow", "profiles"):
        shutil.copytree(source / part, folder / part)
    shutil.copy(source / "Snakefile", folder)
    return folder


def _import_features(folder: Path, environment: dict[str, str]) -> None:
    """Bring in features of two small sets, and write the experiment that uses them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 16))
    for name, split, count in (("own", "train", 6), ("own", "val", 3), ("own", "test", 20), ("other", "test", 12)):
        labels = np.repeat(np.arange(5), count)
        features = (centres[labels] if name == "own" else 0) + rng.normal(size=(len(labels), 16))
        file = folder / f"{name}-{split}.npz"
        np.savez(file, image_features=features.astype(np.float32), labels=labels)
        names = ("--backbone", "clip-vit-b32", "--dataset", name, "--split", split)
        command = [sys.executable, "-m", "oodgrid", "import", "npz", str(file), *names]
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    own = {
        "name": "own",
        "imported": {},
        "text": "visual_prototypes",
        "ood": {"near": [{"name": "other", "imported": {}}]},
    }
    experiment = {
        "experiment": "mini", "backbones": ["clip-vit-b32"], "id_datasets": [own],
        "methods": ["zero_shot", "prototype", "tip_adapter"], "shots": [1, 2], "seeds": [1], "scores": ["mcm", "knn"],
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")


def _cpu_seconds(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """Return user and system time of a process with all that it starts."""
    before = _children()
    subprocess.run(command, check=True, cwd=folder, env=environment, capture_output=True)
    return _children() - before


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
