"""A Slurm of two nodes on this machine, for a test: Debian's daemons, started by us and stopped by us."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = Path("/etc/slurm")  # snakemake's jobs drop SLURM_CONF, so that only this place is left
MARK = "# Written by the tests of oodgrid, which remove it.\n"
LOCK = Path("/tmp/oodgrid-slurm-tests.lock")
DAEMONS = ("munged", "slurmctld", "slurmd")
# With the files that stand for their GPUs; nothing opens one.
NODES = {"node1": ("/dev/null", "/dev/zero"), "node2": ("/dev/full", "/dev/tty")}
PLUGIN = ("snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep", "pandas")
SLURM_CONF = """\
ClusterName=oodgrid-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
MpiDefault=none
MinJobAge=86400
SwitchType=switch/none
SlurmdTimeout=30
KillWait=5
ReturnToService=2
# Nodes claim more than this machine has, as jobs ask for the nodes of a cluster.
SlurmdParameters=config_overrides
GresTypes=gpu
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=32 RealMemory=200000 Gres=gpu:2\n"
# How a job is ended that takes more memory than it asked for: by the kernel, where its cgroups can be had, or by Slurm,
# which looks every two seconds.
BY_KERNEL = "TaskPlugin=task/cgroup\nJobAcctGatherType=jobacct_gather/none\n"
BY_SLURM = """\
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
"""
CGROUPS = Path("/sys/fs/cgroup")


class Cluster:
    """What the tests do to it.

    Attributes:
        environment: What the environment of its users needs beside.
        by_kernel: Whether the kernel ends a job that takes more memory than it asked for; Slurm does otherwise.
    """

    def __init__(self, folder: Path, stack: ExitStack, environment: dict[str, str]) -> None:
        self.environment = environment
        self.by_kernel = _cgroups()
        self._folder, self._stack = folder, stack
        self._daemons: dict[str, subprocess.Popen] = {}

    def start(self, node: str) -> None:
        """Start a node, also one that was killed, and wait until jobs can go there."""
        self._daemons[node] = _start(["slurmd", "-D", "-N", node], self._folder, self._stack)
        _until(lambda: _output("sinfo", "-h", "-n", node, "-o", "%t").strip() in ("idle", "mix", "alloc"), self._folder)

    def kill(self, node: str) -> None:
        """End a node as a power cut does: its daemon and all that runs there, at once and without a word."""
        here = [job["JobId"] for job in jobs() if job["JobState"] == "RUNNING" and job["NodeList"] == node]
        self._daemons[node].kill()
        self._daemons[node].wait()
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                step = re.match(r"slurmstepd: \[(\d+)\.", " ".join(process.cmdline()))
                if step and step[1] in here:
                    for each in (process, *process.children(recursive=True)):
                        each.kill()


@contextmanager
def running(plugin_folder: Path) -> Iterator[Cluster]:
    """Start the cluster; stop and remove it in the end.

    Skips where it cannot be had: no root, no packages, or a Slurm of this machine's own, which is left alone.
    """
    if os.geteuid() != 0:
        pytest.skip("a Slurm is started by root only")
    for conf in (SETTINGS / "slurm.conf", Path("/run/slurm/conf/slurm.conf"), os.environ.get("SLURM_CONF")):
        if conf and Path(conf).exists() and not Path(conf).read_text().startswith(MARK):
            pytest.skip(f"this machine has a Slurm of its own: {conf}")
    environment = _plugin(plugin_folder)
    with ExitStack() as stack:
        fcntl.flock(stack.enter_context(LOCK.open("w")), fcntl.LOCK_EX)  # one session of tests at a time
        _install_daemons()
        folder = Path(tempfile.mkdtemp(prefix="oodgrid-slurm-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _write_settings(folder, stack)
        for daemon in (
            ["munged", "--foreground", "--force", f"--key-file={folder}/key", f"--socket={folder}/munge.socket",
             f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed"],
            ["slurmctld", "-D", "-c"],
        ):  # fmt: skip
            _start(daemon, folder, stack)
        stack.callback(_remove_cgroups)
        cluster = Cluster(folder, stack, environment)
        for node in NODES:
            cluster.start(node)
        stack.callback(_cancel_all)
        yield cluster


def jobs() -> list[dict[str, str]]:
    """Return what Slurm says of its jobs, also of those that have ended."""
    lines = [line for line in _output("scontrol", "show", "jobs", "-o").splitlines() if line.startswith("JobId=")]
    return [dict(field.split("=", 1) for field in line.split() if "=" in field) for line in lines]


def cancel(job: dict[str, str]) -> None:
    """Cancel a job, and return when Slurm says that it is."""
    _output("scancel", job["JobId"])
    assert _holds(lambda: "CANCELLED" in _state(job))


def shorten(job: dict[str, str]) -> None:
    """Let a job run into its time limit, and return when it did."""
    _output("scontrol", "update", f"JobId={job['JobId']}", "TimeLimit=1")
    assert _holds(lambda: _state(job) == "TIMEOUT")


def _state(job: dict[str, str]) -> str:
    return next(each["JobState"] for each in jobs() if each["JobId"] == job["JobId"])


def _holds(condition: Callable[[], bool], seconds: float = 180) -> bool:
    """Return whether something comes to hold in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _remove_cgroups() -> None:
    for node in NODES:
        for folder in sorted((CGROUPS / "memory").glob(f"slurm_{node}/**/"), reverse=True):
            with suppress(OSError):  # of a process that is still ending
                folder.rmdir()


def _cgroups() -> bool:
    """Return whether the kernel's first cgroups can bound memory here; the second Slurm takes from systemd only."""
    try:
        (CGROUPS / "memory" / "oodgrid-test").mkdir()
        (CGROUPS / "memory" / "oodgrid-test").rmdir()
    except OSError:
        return False
    return True


def _plugin(folder: Path) -> dict[str, str]:
    """Install Snakemake's plugin into a folder of its own, unless it is there: with it Snakemake starts slower."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        return {}
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *PLUGIN], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{PLUGIN[0]} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return {"PYTHONPATH": str(folder)}


def _install_daemons() -> None:
    if all(map(shutil.which, DAEMONS)):
        return
    if Path("/run/systemd/system").exists() or not shutil.which("apt-get"):  # which would start them, now and at boot
        pytest.skip("needs Debian's packages slurm-wlm and munge: install them first")
    policy = Path("/usr/sbin/policy-rc.d")  # installing must start nothing
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        script = "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends"
        done = subprocess.run(f"{script} slurm-wlm munge", shell=True, capture_output=True, text=True)
    finally:
        if ours:
            policy.unlink()
    if done.returncode:
        pytest.skip(f"slurm-wlm and munge cannot be installed: {(done.stderr or 'apt-get failed').splitlines()[-1]}")


def _write_settings(folder: Path, stack: ExitStack) -> None:
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    host = socket.gethostname().split(".")[0]
    controller, *ports = _free_ports(1 + len(NODES))
    conf = SLURM_CONF.format(host=host, folder=folder, controller=controller) + (BY_KERNEL if _cgroups() else BY_SLURM)
    for node, port in zip(NODES, ports, strict=True):
        conf += NODE.format(name=node, host=host, port=port)
    SETTINGS.mkdir(exist_ok=True)
    files = {
        "slurm.conf": conf,
        "gres.conf": "".join(f"NodeName={node} Name=gpu File={gpu}\n" for node, gpus in NODES.items() for gpu in gpus),
        "cgroup.conf": "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\nConstrainSwapSpace=yes\n" if _cgroups() else "",
    }
    for name, text in files.items():
        if (SETTINGS / name).exists() and not (SETTINGS / name).read_text().startswith(MARK):
            pytest.skip(f"this machine has a Slurm of its own: {SETTINGS / name}")
        (SETTINGS / name).write_text(MARK + text)
        stack.callback((SETTINGS / name).unlink)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _start(command: list[str], folder: Path, stack: ExitStack) -> subprocess.Popen:
    log = stack.enter_context((folder / f"{command[0]}.out").open("a"))
    dying_with_us = ["setpriv", "--pdeathsig", "TERM"]  # also where the tests are killed
    process = subprocess.Popen([*dying_with_us, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    stack.callback(_stop, process)
    if command[0] == "munged":
        _until((folder / "munge.socket").exists, folder)
    return process


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cancel_all() -> None:
    _output("scancel", "--user=root")
    _holds(lambda: not _output("squeue", "-h"), seconds=30)


def _until(condition: Callable[[], bool], folder: Path) -> None:
    if not _holds(condition):
        logs = "\n".join(f"{file.name}: {file.read_text()[-500:]}" for file in sorted(folder.glob("*.out")))
        pytest.fail(f"the Slurm of this test does not start:\n{logs}")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
