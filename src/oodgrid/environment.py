"""Numbers of environment variables, which users, shells and batch systems set, or leave empty."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from oodgrid.errors import OodgridError, printable

MOST_DIGITS = 9


def whole_number(name: str, otherwise: int, environment: Mapping[str, str] | None = None, least: int = 1) -> int:
    """Return the whole number of a variable, of several with commas the first; another where it is not set, or empty.

    Args:
        name: The variable.
        otherwise: The other number.
        environment: The variables by name; default: those of the process.
        least: The smallest number that has a meaning.

    Raises:
        OodgridError: It is no such number.
    """
    written = _written(name, environment)
    first = written.split(",")[0].strip()  # OMP_NUM_THREADS=4,2 gives nested regions 2
    if not written:
        return otherwise
    if first.isascii() and first.isdigit() and len(first) <= MOST_DIGITS and int(first) >= least:
        return int(first)
    raise OodgridError(f"{name}={printable(written, 50)}: a whole number from {least} on is needed, as {name}=4")


def seconds(name: str, otherwise: float, least: float = 0) -> float:
    """Return the seconds that a variable says; others where it is not set, or empty.

    Raises:
        OodgridError: It is no number, none that ends, or not above the least.
    """
    written = _written(name, None)
    if not written:
        return otherwise
    with suppress(ValueError):
        if "_" not in written and least <= (number := float(written.encode("ascii"))) < float("inf"):
            return number
    raise OodgridError(f"{name}={printable(written, 50)}: a number of seconds is needed, as {name}=120")


def _written(name: str, environment: Mapping[str, str] | None) -> str:
    return (os.environ if environment is None else environment).get(name, "").strip()
