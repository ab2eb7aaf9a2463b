"""What `report` says of its parts."""

from __future__ import annotations

from oodgrid.manifests.base import Manifest


class Digests(Manifest):
    """The SHA-256 of every file of one part of the report, and of those from which it was made."""

    what = "manifest of a report"
    files: dict[str, str]
    sources: dict[str, str]
