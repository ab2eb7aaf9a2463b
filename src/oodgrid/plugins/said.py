"""What goes wrong in somebody else's code, as part of one line."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from oodgrid.errors import OodgridError

LONGEST = 200  # characters


def line_of(error: BaseException, file: Path) -> str:
    """Return ", line N" of the innermost place in a file at which an error arose; "" where it did not."""
    if isinstance(error, SyntaxError):
        same = error.filename is None or Path(error.filename).name == file.name
        return f", line {error.lineno}" if error.lineno and same else ""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == file.name]
    return f", line {lines[-1]}" if lines else ""


def described(error: BaseException) -> str:
    """Return an error of somebody else's code: its type and the first line of what it says, cut between words."""
    if isinstance(error, SystemExit):
        why = error.code if isinstance(error.code, str) else getattr(sys.stderr, "last_line", "")
        return f"it ends the program by SystemExit({_short(why) or error.code}), where it may only define and return"
    words = _short(error.msg if isinstance(error, SyntaxError) else error)
    return words if isinstance(error, OodgridError) else f"{type(error).__name__}: {words}".removesuffix(": ")


def _short(said: object) -> str:
    try:
        lines = str(said).strip().splitlines() or [""]
    except BaseException:  # an exception may fail to say what it is
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in lines[0]).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST].rpartition(' ')[0] or line[:LONGEST]} …"
