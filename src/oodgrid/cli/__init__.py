"""The command line: the roof that alone knows all five rooms.

Heavy imports stand inside the commands, so that `oodgrid metrics` starts without torch.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from contextlib import suppress

from oodgrid import environment, threads
from oodgrid.cli.parser import parser
from oodgrid.errors import OodgridError, printed

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
    _prepare_streams()
    options = parser().parse_args(arguments)
    _cap_threads()
    os.environ["MPLBACKEND"] = "agg"  # figures are files; that of a notebook, which its shell inherits, is not there
    try:
        options.run(options)
        sys.stdout.flush()  # here, where a full disk can still be said
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:  # a panic of polars and a plugin's sys.exit are no Exception
        return _fail(options, error)
    return 0


def _prepare_streams() -> None:
    """Make all text writable to stdout and stderr: closed streams discard it, and what no encoding holds is escaped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open to the end
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _fail(options: argparse.Namespace, error: BaseException) -> int:
    line = printed(error)
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
    """Limit threads to the number of CPUs, whatever the workflow says; must run before numpy loads.

    What is not set follows `OMP_NUM_THREADS`: beside other work, MKL on two threads, of which one waits for the other,
    took seven times the CPU time of one.
    """
    most = usual = threads.cpus()
    for variable in THREAD_VARIABLES:
        number = usual
        with suppress(OodgridError):  # what is no number the libraries pass over, too
            number = min(environment.whole_number(variable, usual), most)
        os.environ[variable] = str(number)
        usual = int(os.environ[THREAD_VARIABLES[0]])
