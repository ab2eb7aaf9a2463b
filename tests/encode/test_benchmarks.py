"""What is to be measured on a GPU runs: on the CPU, small, and writing nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("open_clip")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_benchmarks_of_encoding_run_without_a_gpu():
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "benchmarks").iterdir()}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
    run = [str(ROOT / "benchmarks" / "gpu.sh"), "--small"]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    for line in ("| reference |", "| fast |", "| nvjpeg |", "uint8 in a ring", "oodgrid fast", "torchvision: same 210"):
        assert line in done.stdout
    assert before.items() <= {path: path.stat().st_mtime_ns for path in (ROOT / "benchmarks").iterdir()}.items()
