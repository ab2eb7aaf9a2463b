"""What the workflow costs when everything is cached, and what one more dataset costs.

In a temporary clone: the default experiment, the same again with nothing to do, then with one more OOD set, and which
jobs run. Prints a table; writes benchmarks/pipeline.json.

    python benchmarks/pipeline.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml
from machine import describe

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure, print and write down."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        runs = {"first run": _run(clone), "again, nothing to do": _run(clone)}
        config = yaml.safe_load((clone / "config.yaml").read_text(encoding="utf-8"))
        config["id_datasets"][0]["ood"].setdefault("covariate", []).append("concepts-faded-5")
        (clone / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        runs["one more OOD set"] = _run(clone)
    for name, run in runs.items():
        print(f"{name:24} {run['seconds']:7.1f} s   {json.dumps(run['jobs'])}")
    result = {"machine": describe(), "runs": runs}
    (ROOT / "benchmarks" / "pipeline.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _run(clone: Path) -> dict[str, object]:
    environment = {**os.environ, "PYTHONPATH": str(clone / "src")}
    start = time.perf_counter()
    done = subprocess.run(
        ["snakemake", "--cores", "8"], cwd=clone, env=environment, capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "jobs": Counter(re.findall(r"\(Rule: (\w+)\)", done.stderr + done.stdout))}


if __name__ == "__main__":
    main()
