"""Says what went wrong in somebody else's code, as part of one line."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from oodgrid.errors import OodgridError, one_line, printable


def line_of(error: BaseException, file: Path) -> str:
    """Return ", line N" of the innermost place in a file at which an error arose; "" where it did not."""
    if isinstance(error, SyntaxError):
        same = error.filename is None or Path(error.filename).name == file.name
        return f", line {error.lineno}" if error.lineno and same else ""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == file.name]
    return f", line {lines[-1]}" if lines else ""


def described(error: BaseException) -> str:
    """Return an error of somebody else's code: its type and what it says."""
    if isinstance(error, SystemExit):
        why = error.code if isinstance(error.code, str) else getattr(sys.stderr, "last_line", "")
        shown = printable(why, 200) or str(error.code)
        return f"it ends the program by SystemExit({shown}), where it may only define and return"
    message = one_line(SyntaxError(error.msg) if isinstance(error, SyntaxError) else error)
    name = type(error).__name__
    return message if isinstance(error, OodgridError) or message == name else f"{name}: {message}"
