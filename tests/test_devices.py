from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from oodgrid import devices

HOLDER = """
import sys, time
from pathlib import Path
from oodgrid import devices
print(devices.pick(["a", "b"], Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


@pytest.fixture
def holders(tmp_path):
    """A function that starts a process which holds a device, and says which."""
    started = []

    def start():
        process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_jobs_of_one_machine_get_a_gpu_each_and_a_killed_one_frees_its_own(holders):
    first, gpu = holders()
    _, other = holders()
    assert {gpu, other} == {"cuda:0", "cuda:1"}
    _, shared = holders()
    assert shared in ("cuda:0", "cuda:1")  # all are taken
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert holders()[1] == gpu


def test_no_gpu_is_the_cpu(tmp_path):
    assert devices.pick([], tmp_path) == "cpu"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variable", "count", "names"),
    [(None, 2, ["0", "1"]), ("3,1", 2, ["3", "1"]), ("GPU-ab", 1, ["GPU-ab"]), ("", 0, [])],
)
def test_gpus_are_known_by_the_names_of_the_machine(monkeypatch, variable, count, names):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert devices.visible_gpus(count) == names
