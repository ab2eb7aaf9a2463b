"""Runs somebody else's code in another process, where it may end, hang or crash without harm.

The process is started as a job of the workflow is: with this package's folder before the user's `PYTHONPATH`, and
without the working directory on the path.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from oodgrid import environment
from oodgrid.errors import OodgridError
from oodgrid.plugins.wording import described

SHORTEST = 0.001
LIMIT = 60.0  # seconds of CPU time for each step that it reports by `now`: a busy machine makes no loop endless
WAITING = 600.0  # seconds on the clock, for what waits instead of computing
SETTING = "OODGRID_PLUGIN_SECONDS"  # the environment variable that sets both
INSIDE = "OODGRID_APART"
SOURCE = Path(__file__).parents[2]


def run(function: str, *arguments: Any, doing: str) -> None:
    """Call `module:function` with JSON-able arguments (or paths) in another process; do nothing if this is it.

    Args:
        function: Its name.
        arguments: Of the function.
        doing: Names the first step, for errors; the function names others by `now`.

    Raises:
        OodgridError: It raises, ends its process, or takes too long for a step.
    """
    if inside():
        return
    with tempfile.TemporaryDirectory() as folder:
        task, diary = Path(folder) / "task", Path(folder) / "diary"
        task.write_text(json.dumps([function, arguments, os.getpid()], default=str), encoding="utf-8")
        diary.write_text(json.dumps({"now": doing}) + "\n", encoding="utf-8")
        command = [sys.executable, "-c", "from oodgrid.plugins.apart import _child; _child()", folder]
        variables = {**os.environ, **job_variables(), INSIDE: "1", "OMP_NUM_THREADS": "1"}  # CPU time is counted
        null = subprocess.DEVNULL
        process = subprocess.Popen(command, env=variables, start_new_session=True, stdin=null, stdout=null, stderr=null)
        try:
            status = _wait(process, diary)
        finally:
            with suppress(ProcessLookupError, PermissionError):  # with whatever it has started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        last = _read(diary)
    if "failed" in last:
        raise OodgridError(last["failed"])
    if status != 0 or "done" not in last:
        raise OodgridError(f"{last.get('now', doing)} {_ended(status, 'done' in last)}")


def inside() -> bool:
    """Return whether this is a process that `run` has started."""
    return INSIDE in os.environ


def now(doing: str) -> None:
    """Name the next step, for errors; its time starts now."""
    _write({"now": doing})


def job_variables(source: Path = SOURCE) -> dict[str, str]:
    """Return the environment variables by which such a process and the workflow's jobs import the same modules.

    This package comes first, then the user's PYTHONPATH; the working directory is on no path.
    """
    places = [str(source), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(places)), "PYTHONSAFEPATH": "1"}


def limits() -> tuple[float, float]:
    """Return the seconds that a step may take, of CPU time and on the clock.

    Raises:
        OodgridError: The environment variable that sets them is no such number.
    """
    seconds = environment.seconds(SETTING, LIMIT, least=SHORTEST)
    return seconds, seconds * WAITING / LIMIT


def _wait(process: subprocess.Popen, diary: Path) -> int | str:
    """Return the exit status, or which limit one of its steps has exceeded."""
    computing, waiting = limits()
    steps, since, used = b"", time.monotonic(), _cpu_seconds(process.pid)
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=min(0.5, computing))
        if (written := diary.read_bytes()) != steps:
            steps, since, used = written, time.monotonic(), _cpu_seconds(process.pid)
            waiting = LIMIT if b'{"done"' in steps else waiting  # then only threads keep it alive
        if _cpu_seconds(process.pid) - used > computing:
            return f"{computing:g} s of CPU time"
        if time.monotonic() - since > waiting:
            return f"{waiting:g} s"


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a running process with its threads; the time of a clock where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, see proc(5)
    except (OSError, ValueError, IndexError):
        return time.monotonic()


def _ended(status: int | str, done: bool) -> str:
    if isinstance(status, str):
        if done:
            return "leaves a thread that never ends"
        return f"does not end within {status}: if it needs longer, give it more by {SETTING}"
    if status < 0:
        return f"kills the process ({signal.Signals(-status).name})"
    return f"ends the process (exit status {status})"


def _read(diary: Path) -> dict[str, Any]:
    return json.loads(diary.read_text(encoding="utf-8").splitlines()[-1])


def _write(entry: dict[str, Any]) -> None:
    with (Path(sys.orig_argv[-1]) / "diary").open("a", encoding="utf-8") as diary:
        diary.write(json.dumps(entry) + "\n")


class _LastLine(io.TextIOBase):
    """Remembers the last line that is printed, with which argparse explains why it ends the program."""

    last_line = ""

    def write(self, text: str) -> int:
        self.last_line = next((line for line in reversed(text.splitlines()) if line.strip()), self.last_line)
        return len(text)


def _child() -> None:
    """Do the task in the folder that the command line names, and write into it how that went."""
    function, arguments, parent = json.loads((Path(sys.argv[1]) / "task").read_text(encoding="utf-8"))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    sys.argv, sys.stderr = ["oodgrid"], _LastLine()
    module, name = function.split(":")
    try:
        getattr(import_module(module), name)(*arguments)
        _write({"done": True})
    except BaseException as error:
        _write({"failed": str(error) if isinstance(error, OodgridError) else described(error)})


def _end_with(parent: int) -> None:
    """End this process and all that it has started once its parent is gone, as after a run was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)
