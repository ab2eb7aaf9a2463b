"""Gives Snakemake's jobs to PBS, LSF or Grid Engine, and asks after them: profiles/generic calls it.

    python profiles/generic/scheduler.py submit --name N --threads 4 --memory 16000 --minutes 240 --gpus 1 JOBSCRIPT
    python profiles/generic/scheduler.py status JOB
    python profiles/generic/scheduler.py cancel JOB JOB

A job writes its exit status into a file of its own, so that nothing hangs on how long a scheduler remembers a job that
has ended. One that the scheduler no longer has, and that wrote nothing, was killed: by its limits, by a person, or with
its node. Needs Python alone: it runs before anything is installed on a node.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(".snakemake/generic")  # of the jobs' scripts, outputs and exit statuses
OPTIONS = "OODGRID_SUBMIT"  # the user's own options: "-q long -A project"
GRACE = 60.0  # seconds until the exit status that a node wrote is seen on the shared file system


@dataclass(frozen=True)
class Ask:
    """What a job asks for.

    Attributes:
        name: Of the job.
        threads: CPUs of one node.
        memory: MB.
        minutes: At most.
        gpus: Of the node.
        output: File for what the job prints.
    """

    name: str
    threads: int
    memory: int
    minutes: int
    gpus: int
    output: Path


@dataclass(frozen=True)
class Scheduler:
    """How one scheduler is spoken to.

    Attributes:
        program: The command that submits; it is there if the scheduler is.
        options: Of the command, for what a job asks for.
        number: Where the job's number stands in what the command prints.
        ask: The command that asks after a job, before its number.
        gone: What that command says of a job that the scheduler no longer has; whatever else it says, it has the job.
        cancel: The command that ends jobs, before their numbers.
        stdin: Whether the script is read from the standard input.
    """

    program: str
    options: Callable[[Ask], list[str]]
    number: str
    ask: list[str]
    gone: str
    cancel: list[str]
    stdin: bool = False


def _pbs(ask: Ask) -> list[str]:
    chunk = f"select=1:ncpus={ask.threads}:mem={ask.memory}mb" + (f":ngpus={ask.gpus}" if ask.gpus else "")
    time_limit = f"walltime={ask.minutes // 60:02}:{ask.minutes % 60:02}:00"
    return ["-V", "-N", ask.name[:15], "-l", chunk, "-l", time_limit, "-j", "oe", "-o", str(ask.output)]


def _lsf(ask: Ask) -> list[str]:
    gpus = ["-gpu", f"num={ask.gpus}"] if ask.gpus else []
    memory = ["-M", f"{ask.memory}MB", "-R", f"span[hosts=1] rusage[mem={ask.memory}MB]"]
    return ["-J", ask.name, "-n", str(ask.threads), *memory, "-W", str(ask.minutes), *gpus, "-o", str(ask.output)]


def _grid_engine(ask: Ask) -> list[str]:
    """Memory is asked for by slot. What a cluster calls its parallel environment, GPUs and memory differs.

    Not h_vmem for a job on a GPU: it bounds the address space, of which CUDA reserves more than there is memory.
    """
    slots = ["-pe", os.environ.get("OODGRID_PE", "smp"), str(ask.threads)] if ask.threads > 1 else []
    gpus = ["-l", f"{os.environ.get('OODGRID_SGE_GPU', 'gpu')}={ask.gpus}"] if ask.gpus else []
    memory = os.environ.get("OODGRID_SGE_MEMORY", "mem_free" if ask.gpus else "h_vmem")
    limits = f"h_rt={ask.minutes * 60},{memory}={-(-ask.memory // ask.threads)}M"
    return [
        "-terse",
        "-V",
        "-N",
        ask.name,
        "-cwd",
        "-S",
        "/bin/bash",
        *slots,
        "-l",
        limits,
        *gpus,
        "-j",
        "y",
        "-o",
        str(ask.output),
    ]


SCHEDULERS = {
    "PBS": Scheduler("qsub", _pbs, r"^(\d\S*)", ["qstat"], "unknown job|has finished", ["qdel"]),
    "LSF": Scheduler(
        "bsub", _lsf, r"<(\d+)>", ["bjobs", "-noheader", "-o", "stat"], "^DONE|^EXIT|not found", ["bkill"], True
    ),
    "Grid Engine": Scheduler("qsub", _grid_engine, r"^(\d+)", ["qstat", "-j"], "do not exist", ["qdel"]),
}


def find() -> Scheduler:
    """Return the scheduler whose commands are there, or that OODGRID_SCHEDULER names; end the program where none is."""
    if name := os.environ.get("OODGRID_SCHEDULER"):
        if name in SCHEDULERS:
            return SCHEDULERS[name]
        sys.exit(f"oodgrid: error: OODGRID_SCHEDULER is one of {', '.join(SCHEDULERS)}, not {name}")
    if shutil.which("bsub"):
        return SCHEDULERS["LSF"]
    if shutil.which("qsub"):  # both have it
        return SCHEDULERS["Grid Engine" if "SGE_ROOT" in os.environ or shutil.which("qconf") else "PBS"]
    sys.exit(
        "oodgrid: error: profiles/generic finds no qsub (PBS, Grid Engine) and no bsub (LSF); on Slurm: profiles/slurm"
    )


def submit(scheduler: Scheduler, ask: Ask, jobscript: Path) -> str:
    """Submit a script of Snakemake's, and return the name by which it is asked after: its number and a mark of ours."""
    mark = uuid.uuid4().hex[:12]
    FOLDER.mkdir(parents=True, exist_ok=True)
    status, script = FOLDER / f"{mark}.exit", FOLDER / f"{mark}.sh"
    beside = shlex.quote(str(status.absolute()))
    script.write_text(
        f"#!/bin/bash\ncd {shlex.quote(str(Path.cwd()))}\nbash {shlex.quote(str(jobscript.absolute()))}\nstatus=$?\n"
        f"echo $status > {beside}.part && mv {beside}.part {beside}\nexit $status\n",
        encoding="utf-8",
    )
    command = [scheduler.program, *scheduler.options(ask), *shlex.split(os.environ.get(OPTIONS, ""))]
    if scheduler.stdin:
        with script.open() as text:
            done = subprocess.run(command, stdin=text, capture_output=True, text=True)
    else:
        done = subprocess.run([*command, str(script)], capture_output=True, text=True)
    number = re.search(scheduler.number, done.stdout.strip(), re.MULTILINE)
    if done.returncode or not number:
        sys.exit(f"oodgrid: error: {shlex.join(command)}: {(done.stderr or done.stdout).strip()}")
    return f"{number[1]}@{mark}"


def status(scheduler: Scheduler, job: str) -> str:
    """Return what Snakemake wants to hear of a job: running, success or failed."""
    number, mark = job.rsplit("@", 1)
    ended = FOLDER / f"{mark}.exit"
    missed = FOLDER / f"{mark}.missed"  # since when the scheduler no longer has it
    if not ended.exists() and _has(scheduler, number):
        missed.unlink(missing_ok=True)
        return "running"
    if not ended.exists():
        if not missed.exists():
            missed.touch()
        if time.time() - missed.stat().st_mtime < GRACE:
            return "running"
        return "failed"
    success = ended.read_text(encoding="utf-8").strip() == "0"
    return "success" if success else "failed"


def _has(scheduler: Scheduler, number: str) -> bool:
    """Return whether a scheduler has a job; one that cannot be asked, as it is down, is taken to have it."""
    done = subprocess.run([*scheduler.ask, number], capture_output=True, text=True)
    return not re.search(scheduler.gone, done.stdout + done.stderr, re.IGNORECASE | re.MULTILINE)


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("find")
    one = commands.add_parser("submit")
    one.add_argument("--name", required=True)
    for option in ("threads", "memory", "minutes", "gpus"):
        one.add_argument(f"--{option}", type=int, required=True)
    one.add_argument("jobscript", type=Path)
    commands.add_parser("status").add_argument("job")
    commands.add_parser("cancel").add_argument("jobs", nargs="+")
    arguments = parser.parse_args()
    scheduler = find()
    if arguments.command == "submit":
        numbers = (arguments.threads, arguments.memory, arguments.minutes, arguments.gpus)
        output = (FOLDER / f"{arguments.name}-{arguments.jobscript.stem}.out").absolute()
        print(submit(scheduler, Ask(arguments.name, *numbers, output), arguments.jobscript))
    elif arguments.command == "status":
        print(status(scheduler, arguments.job))
    elif arguments.command == "cancel":
        subprocess.run([*scheduler.cancel, *(job.rsplit("@", 1)[0] for job in arguments.jobs)], check=False)


if __name__ == "__main__":
    main()
