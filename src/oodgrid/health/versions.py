"""What is installed, beside what the package needs and what its pins say."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from oodgrid.health.findings import NOTE, OK, UNFIT, Finding

PINS = Path("constraints.txt")
MOST_NAMED = 6


def of_versions(extras: set[str]) -> Iterator[Finding]:
    """Yield whether what is needed is installed, in versions that will do, and where it is not what the pins say.

    Args:
        extras: Of the package, which are needed, as "encode".
    """
    try:
        requirements = [Requirement(text) for text in requires("oodgrid") or ()]
    except PackageNotFoundError:
        yield Finding("versions", NOTE, "oodgrid is not installed, so nothing says what it needs", "pip install -e .")
        return
    lacking: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = next((extra for extra in ("", *sorted(extras)) if _applies(requirement, extra)), None)
        if extra is not None and (wrong := _wrong(requirement)):
            lacking.setdefault(extra, []).append(wrong)
    for extra, mistakes in lacking.items():
        package = f"'oodgrid[{extra}]'" if extra else "oodgrid"
        yield Finding(
            "versions", UNFIT, _named(mistakes), f"pip install {package}, with -c constraints.txt for the pins"
        )
    if lacking:
        return
    differing = list(_unpinned())
    if differing:
        text = f"{_named(differing)}: not as in {PINS}, within what the package needs"
        yield Finding("versions", NOTE, text, f"pip install -c {PINS} -e '.[{','.join(sorted(extras))}]'")
    else:
        yield Finding("versions", OK, f"as needed{f', and as pinned in {PINS}' if PINS.is_file() else ''}")


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _wrong(requirement: Requirement) -> str:
    """Return what is wrong with one requirement; "" where nothing is."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(installed, prereleases=True):
        return ""
    return f"{requirement.name} {installed} is not {requirement.specifier}"


def _unpinned() -> Iterator[str]:
    """Yield the packages that are installed in another version than the pins of this folder say."""
    try:
        lines = PINS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            pin = Requirement(line.split("#")[0].strip())
            installed = version(pin.name)
        except (InvalidRequirement, PackageNotFoundError):  # a comment; what is not installed is not asked for
            continue
        if not pin.specifier.contains(installed, prereleases=True):
            yield f"{pin.name} {installed} ({str(pin.specifier).lstrip('=')})"


def _named(things: list[str]) -> str:
    more = f" and {len(things) - MOST_NAMED} more" if len(things) > MOST_NAMED else ""
    return f"{', '.join(things[:MOST_NAMED])}{more}"
