"""The command line: the roof that alone knows all five rooms.

Heavy imports stand inside the commands, so that `oodgrid metrics` starts without torch.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from contextlib import suppress

from oodgrid.cli.parser import parser
from oodgrid.errors import one_line

__all__ = ["main"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parser().parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: not every name of a file is UTF-8
    _cap_threads()
    try:
        options.run(options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:  # a panic of polars and a plugin's sys.exit are no Exception
        return _fail(options, error)
    return 0


def _fail(options: argparse.Namespace, error: BaseException) -> int:
    line = one_line(error)
    if options.debug:
        traceback.print_exception(error)
    if options.log:
        with suppress(OSError):  # where nothing can be written, that is what the line says
            options.log.parent.mkdir(parents=True, exist_ok=True)
            text = f"{line}\n\n{''.join(traceback.format_exception(error))}"
            options.log.write_text(text, "utf-8", "backslashreplace")
    print(line, file=sys.stderr)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _cap_threads() -> None:
    """Never start more threads than there are CPUs, whatever the workflow says; must run before numpy loads."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for variable in THREAD_VARIABLES:
        given = os.environ.get(variable, "")
        os.environ[variable] = str(min(int(given), cpus) if given.isdigit() and int(given) else cpus)
