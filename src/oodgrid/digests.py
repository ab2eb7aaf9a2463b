"""Digests of files that cannot hold a seal: tables, figures, the page.

A manifest `<part>.digests.json` lies in the folder of an experiment, written last, with the SHA-256 of every file of a
part of the report, and of the files that it was made from.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from oodgrid import manifests
from oodgrid.errors import OodgridError
from oodgrid.identity import sha256_now
from oodgrid.paths import DIGESTS

MOST_NAMED = 12  # damaged files in one line


def write(manifest: Path, files: Iterable[Path], sources: Iterable[Path]) -> None:
    """Write the digests of files and of the sources that they were made from; all lie below the manifest's folder."""
    files_now, sources_now = (
        {path.relative_to(manifest.parent).as_posix(): sha256_now(path) for path in paths} for paths in (files, sources)
    )
    manifests.write(manifest, manifests.Digests(files=files_now, sources=sources_now))


def check(manifest: Path, missing: bool = True) -> int:
    """Compare files with their manifest, and return how many there are.

    Args:
        manifest: What `write` left.
        missing: Whether a file that is not there is an error, too; Snakemake itself makes it again.

    Raises:
        OodgridError: A file is not as it was written, or was made from another source which is no newer, so that
            Snakemake takes no notice; the message names them all, and what to do.
    """
    recorded, root = manifests.read(manifest, manifests.Digests), manifest.parent
    changed = [path for path, digest in recorded.files.items() if _differs(root / path, digest, missing)]
    if changed:
        named = ", ".join(str(root / path) for path in changed[:MOST_NAMED])
        more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
        one = len(changed) == 1
        raise OodgridError(
            f"{named}{more} {'is' if one else 'are'} not as {'it was' if one else 'they were'} written. "
            f"Delete {'it' if one else 'them'}, and the next run makes {'it' if one else 'them'} again"
        )
    for path, digest in recorded.sources.items():
        source = root / path
        known = source.exists() and source.stat().st_mtime <= manifest.stat().st_mtime
        if known and _differs(source, digest, missing=False):
            raise OodgridError(
                f"{manifest.name.removesuffix(DIGESTS)} of {root} were made from another {path}, which has an older "
                f"time. Delete {manifest}, and the next run makes them again"
            )
    return len(recorded.files)


def _differs(path: Path, digest: str, missing: bool) -> bool:
    return sha256_now(path) != digest if path.is_file() else missing
