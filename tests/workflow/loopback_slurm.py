"""A Slurm of one node on this machine, for a test: Debian's daemons, started by us and stopped by us."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = Path("/etc/slurm")  # snakemake's jobs drop SLURM_CONF, so that only this place is left
MARK = "# Written by the tests of oodgrid, which remove it.\n"
LOCK = Path("/tmp/oodgrid-slurm-tests.lock")
DAEMONS = ("munged", "slurmctld", "slurmd")
GPUS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty")  # files that stand for them; nothing opens one
PLUGIN = ("snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep", "pandas")
SLURM_CONF = """\
ClusterName=oodgrid-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MinJobAge=86400
SwitchType=switch/none
# The node claims more than this machine has, as jobs ask for the node of a cluster.
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=32 RealMemory=200000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def running(plugin_folder: Path) -> Iterator[dict[str, str]]:
    """Start the cluster and return what the environment of its users needs beside; stop and remove it in the end.

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
            ["slurmd", "-D"],
        ):  # fmt: skip
            _start(daemon, folder, stack)
        _until(lambda: "idle" in _output("sinfo", "-h", "-o", "%t"), folder)
        stack.callback(_cancel_all)
        yield environment


def jobs() -> list[dict[str, str]]:
    """Return what Slurm says of its jobs, also of those that have ended."""
    lines = [line for line in _output("scontrol", "show", "jobs", "-o").splitlines() if line.startswith("JobId=")]
    return [dict(field.split("=", 1) for field in line.split() if "=" in field) for line in lines]


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
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    host = socket.gethostname().split(".")[0]
    ports = _free_ports(2)
    SETTINGS.mkdir(exist_ok=True)
    files = {
        "slurm.conf": SLURM_CONF.format(host=host, folder=folder, controller=ports[0], node=ports[1], gpus=len(GPUS)),
        "gres.conf": "".join(
            f"NodeName={host} Name=gpu File=/dev/{name}\n" for name in ("null", "zero", "full", "tty")
        ),
        "cgroup.conf": "",
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


def _start(command: list[str], folder: Path, stack: ExitStack) -> None:
    log = stack.enter_context((folder / f"{command[0]}.out").open("w"))
    dying_with_us = ["setpriv", "--pdeathsig", "TERM"]  # also where the tests are killed
    process = subprocess.Popen([*dying_with_us, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    stack.callback(_stop, process)
    if command[0] == "munged":
        _until((folder / "munge.socket").exists, folder)


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cancel_all() -> None:
    _output("scancel", "--user=root")
    end = time.monotonic() + 30
    while _output("squeue", "-h") and time.monotonic() < end:
        time.sleep(0.5)


def _until(condition, folder: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            said = "\n".join(f"{file.name}: {file.read_text()[-500:]}" for file in sorted(folder.glob("*.out")))
            pytest.fail(f"the Slurm of this test does not start:\n{said}")
        time.sleep(0.2)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
