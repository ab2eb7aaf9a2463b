"""The one exception a user is meant to read: one line that names the thing and the mend."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class OodgridError(Exception):
    """A mistake in what the user gave. Its message is one line; the command line prints it without a traceback."""


def unknown(kind: str, name: str, known: Iterable[str]) -> OodgridError:
    """Return the error for a name that does not exist, with a did-you-mean where one is near.

    Args:
        kind: What the name should have been, as "score" or "config key".
        name: What was written.
        known: The names that exist.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
    return OodgridError(f"unknown {kind} '{name}': {hint}")


def one_line(error: BaseException, most: int = 200) -> str:
    """Return what a library says of a failure, on one line and not cut within a word."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= most else said[:most].rsplit(" ", 1)[0] + " …"
