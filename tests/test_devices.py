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


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user are made by root only")
@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_the_file_of_another_user_locks_as_ones_own_does(tmp_path, mode):
    """A child that is nobody, in a folder like /tmp, meets files of root."""
    tmp_path.chmod(0o1777)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest", "popen")):
            folder.chmod(0o755)
    for name in "ab":
        (tmp_path / f"oodgrid-gpu-{name}.lock").touch()
        (tmp_path / f"oodgrid-gpu-{name}.lock").chmod(mode)
    as_nobody = "import fcntl, os; from oodgrid import devices; os.setuid(65534)" + HOLDER
    command = [sys.executable, "-c", as_nobody, str(tmp_path)]
    nobody = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert {process.stdout.readline().strip() for process in nobody} == {"cuda:0", "cuda:1"}
        if mode == 0o644:  # one lock for all users
            assert not devices._lock(tmp_path / "oodgrid-gpu-a.lock")
    finally:
        for process in nobody:
            process.kill()
            process.wait()


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "no folder"])
def test_what_is_no_file_of_ours_never_makes_a_job_wait(tmp_path, kind):
    lock = tmp_path / "oodgrid-gpu-a.lock"
    if kind == "fifo":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    elif kind == "link":
        lock.symlink_to(tmp_path / "victim")
    assert devices.pick(["a"], tmp_path / "none" if kind == "no folder" else tmp_path) == "cuda:0"
    assert not (tmp_path / "victim").exists()


def test_others_can_read_the_lock_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        assert devices.pick(["a"], tmp_path) == "cuda:0"
    finally:
        os.umask(before)
    assert (tmp_path / "oodgrid-gpu-a.lock").stat().st_mode & 0o777 == 0o644


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
