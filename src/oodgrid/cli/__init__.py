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
from oodgrid.errors import OodgridError

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
    except OodgridError as error:
        return _fail(options, f"error: {error}")
    except KeyboardInterrupt:
        _fail(options, "interrupted; what was finished is kept")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _fail(options, f"unexpected {type(error).__name__}: {error} (--debug shows where; please report it)")
    return 0


def _fail(options: argparse.Namespace, line: str) -> int:
    if options.debug:
        traceback.print_exc()
    if options.log:
        with suppress(OSError):  # where nothing can be written, that is what the line says
            options.log.parent.mkdir(parents=True, exist_ok=True)
            options.log.write_text(f"oodgrid: {line}\n\n{traceback.format_exc()}", "utf-8", "backslashreplace")
    print(f"oodgrid: {' '.join(line.split())}", file=sys.stderr)
    return 1


def _cap_threads() -> None:
    """Never start more threads than there are CPUs, whatever the workflow says; must run before numpy loads."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for variable in THREAD_VARIABLES:
        given = os.environ.get(variable, "")
        os.environ[variable] = str(min(int(given), cpus) if given.isdigit() and int(given) else cpus)
