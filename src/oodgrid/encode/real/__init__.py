"""Real datasets on a user's disk: finding how one lies there, reading it, and saying what is missing of it."""

from __future__ import annotations

from oodgrid.encode.real.finding import Location, find
from oodgrid.encode.real.splits import Expected, check_split, names_digest, read_split

__all__ = ["Expected", "Location", "check_split", "find", "names_digest", "read_split"]
