"""How much of the demo run is spent on starting processes and importing libraries.

Runs the default experiment in a temporary clone, and beside it, in the same minutes, the imports that every kind of job
makes. Prints a table; writes benchmarks/startup.json.

    python benchmarks/startup.py
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = "import numpy, h5py, pydantic"
TABLES = "import numpy, pydantic, polars"
NETWORK = f"{FILES}, torch, open_clip"
# What each kind of job imports beside oodgrid itself, and how many such jobs the default experiment has.
JOBS = {
    "encode images": (NETWORK, 7),
    "encode texts": (NETWORK, 1),
    "fit and apply: coop": (NETWORK, 2),
    "fit: clip_adapter, tip_adapter_f": (f"{FILES}, torch", 2),
    "fit: linear_probe": (f"{FILES}, sklearn.linear_model", 1),
    "fit and apply: the others": (FILES, 9),
    "score: the methods": (f"{TABLES}, h5py", 7),
    "score: any": (f"{TABLES}, h5py, scipy.linalg, scipy.sparse", 1),
    "evaluate": (TABLES, 1),
    "report": ("import polars, jinja2, matplotlib.figure", 3),
}


def main() -> None:
    """Measure, print and write down."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    starts = {name: _cpu_seconds(imports, environment) for name, (imports, _) in JOBS.items()}
    wall, total = _demo(environment)
    rows = [(name, JOBS[name][1], each, JOBS[name][1] * each) for name, each in starts.items()]
    spent = sum(row[3] for row in rows)
    print(f"{'job':45} {'jobs':>5} {'CPU s each':>11} {'CPU s':>8}")
    for name, jobs, each, both in rows:
        print(f"{name:45} {jobs:5d} {each:11.2f} {both:8.1f}")
    print(f"{'start-up and imports':45} {sum(r[1] for r in rows):5d} {'':11} {spent:8.1f}")
    print(f"{'whole demo run':45} {'':5} {'':11} {total:8.1f}   in {wall:.1f} s of wall time")
    print(f"share of start-up: {spent / total:.3f}")
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    result = {"rows": rows, "startup_cpu_s": spent, "total_cpu_s": total, "wall_s": wall, "machine": machine}
    (ROOT / "benchmarks" / "startup.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _cpu_seconds(imports: str, environment: dict[str, str]) -> float:
    """Return the CPU seconds of a process that imports and ends, the better of two."""
    times = []
    for _ in range(2):
        before = _children()
        subprocess.run([sys.executable, "-c", f"import oodgrid.cli; {imports}"], check=True, env=environment)
        times.append(_children() - before)
    return min(times)


def _demo(environment: dict[str, str]) -> tuple[float, float]:
    """Return wall and CPU seconds of the default experiment in a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("src", "workflow", "profiles"):
            shutil.copytree(ROOT / part, Path(folder) / part)
        for part in ("Snakefile", "config.yaml"):
            shutil.copy(ROOT / part, folder)
        environment = {**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        started, before = time.perf_counter(), _children()
        subprocess.run(["snakemake", "--cores", str(os.cpu_count())], check=True, cwd=folder, env=environment)
        return time.perf_counter() - started, _children() - before


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
