"""A process of its own for somebody else's code: it may end, hang or crash there, and nothing more is lost than it.

It is started as a job of the workflow is: with `PYTHONPATH` as the user set it behind the package's own folder, and
without the folder from which it is started on the path.
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

from oodgrid.errors import OodgridError
from oodgrid.plugins.said import described

LIMIT = 60.0  # seconds for each thing it says that it does
INSIDE = "OODGRID_APART"
SOURCE = Path(__file__).parents[2]


def run(function: str, *arguments: Any, doing: str) -> None:
    """Call `module:function` with JSON-able arguments (paths too) in a process of its own; there, call it not again.

    Args:
        function: What to call.
        arguments: What it is given.
        doing: What is done, for errors, until the function says so itself by `now`.

    Raises:
        OodgridError: It raises, ends its process, or does not end within `LIMIT`.
    """
    if inside():
        return
    with tempfile.TemporaryDirectory() as folder:
        task, diary = Path(folder) / "task", Path(folder) / "diary"
        task.write_text(json.dumps([function, arguments, os.getpid()], default=str), encoding="utf-8")
        diary.write_text(json.dumps({"now": doing}) + "\n", encoding="utf-8")
        command = [sys.executable, "-c", "from oodgrid.plugins.apart import _child; _child()", folder]
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        variables = {**os.environ, **job_variables(), INSIDE: "1"}
        process = subprocess.Popen(command, env=variables, start_new_session=True, **quiet)
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
    """Return whether this process is such a one."""
    return INSIDE in os.environ


def now(doing: str) -> None:
    """Write down what comes next, so that an error can name it, and the time for it starts."""
    _write({"now": doing})


def job_variables(source: Path = SOURCE) -> dict[str, str]:
    """Return what such a process and the workflow's jobs have in their environment, so that both import the same.

    This package comes first, then what the user's PYTHONPATH names; the folder where Python starts is on no path.
    """
    places = [str(source), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(places)), "PYTHONSAFEPATH": "1"}


def _wait(process: subprocess.Popen, diary: Path) -> int | None:
    """Return the exit status, or None where what it does takes longer than the limit."""
    said, since = b"", time.monotonic()
    while time.monotonic() - since < LIMIT:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=min(0.5, LIMIT))
        if (found := diary.read_bytes()) != said:
            said, since = found, time.monotonic()
    return None


def _ended(status: int | None, done: bool) -> str:
    if status is None:
        return "leaves a thread that never ends" if done else f"does not end within {LIMIT:g} s"
    if status < 0:
        return f"kills the process ({signal.Signals(-status).name})"
    return f"ends the process (exit status {status})"


def _read(diary: Path) -> dict[str, Any]:
    return json.loads(diary.read_text(encoding="utf-8").splitlines()[-1])


def _write(entry: dict[str, Any]) -> None:
    with (Path(sys.orig_argv[-1]) / "diary").open("a", encoding="utf-8") as diary:
        diary.write(json.dumps(entry) + "\n")


class _LastLine(io.TextIOBase):
    """Takes what is printed and remembers its last line: what argparse has to say before it ends the program."""

    last_line = ""

    def write(self, text: str) -> int:
        self.last_line = next((line for line in reversed(text.splitlines()) if line.strip()), self.last_line)
        return len(text)


def _child() -> None:
    """Do the task of the folder that the command line names, and leave in it how that went."""
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
    """End this process and all that it has started once nobody waits for it, as where a run was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)
