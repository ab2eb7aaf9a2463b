"""A stand-in for conda, which cannot be had where these tests run: it knows the commands that Snakemake gives.

Of what an environment's file lists, it puts the packages that are installed beside the tests, and those that they
require, into a virtual environment, and nothing else; so that a job fails there for want of one that is not listed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import venv
from importlib.metadata import Distribution, distribution
from itertools import pairwise
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ABSENT = {"datasets"}  # an extra that nobody has who does not ask for it
_spec = importlib.util.spec_from_file_location("conda_envs", ROOT / "tools" / "conda_envs.py")
assert _spec
assert _spec.loader
conda_envs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(conda_envs)


def requirements(file: Path) -> list[Requirement]:
    """What an environment's file lists, but for Python, by PyPI's names."""
    pypi = {conda: name for name, conda in conda_envs.CONDA.items()}
    words = [line.split() for line in yaml.safe_load(file.read_text(encoding="utf-8"))["dependencies"]]
    return [Requirement(f"{pypi.get(name, name)}{versions}") for name, versions, *_ in words if name != "python"]


def required(listed: list[Requirement]) -> dict[str, Distribution]:
    """The installed packages that are listed, and those that they require."""
    packages: dict[str, Distribution] = {}
    pending = [(each, "") for each in listed if each.name not in ABSENT]
    while pending:
        requirement, extra = pending.pop()
        name = canonicalize_name(requirement.name)
        if (requirement.marker and not requirement.marker.evaluate({"extra": extra})) or name in packages:
            continue
        packages[name] = distribution(name)
        below = list(map(Requirement, packages[name].requires or []))
        pending += [(each, extra) for extra in ("", *requirement.extras) for each in below]
    return packages


def create(file: Path, prefix: Path) -> None:
    """Make the environment that a file lists."""
    venv.create(prefix, symlinks=True)
    site = next(prefix.glob("lib/python*/site-packages"))
    for package in required(requirements(file)).values():
        tops = {path.parts[0] for path in package.files or []} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(package.locate_file(top))))


def install(folder: Path) -> Path:
    """Put the stand-in into a folder that does not exist yet; return what is to be first in PATH."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    (programs / "conda").write_text(f'#!/bin/sh\nSTAND_IN="{folder}" exec "{sys.executable}" "{__file__}" "$@"\n')
    (programs / "conda").chmod(0o755)
    (programs / "activate").write_text('export PATH="$1/bin:$PATH"\n')
    return programs


def main(*arguments: str) -> None:
    """Answer one command."""
    answers = {
        ("info", "--json"): json.dumps({"conda_prefix": os.environ["STAND_IN"], "platform": "linux-64"}),
        ("--version",): "conda 26.9.0",
        ("clean", "-y", "--tarballs"): "",
        ("config", "--get", "channel_priority", "--json"): json.dumps({"get": {"channel_priority": "strict"}}),
    }
    if arguments in answers:
        print(answers[arguments])
    elif arguments[:2] == ("env", "create"):
        options = dict(pairwise(arguments))
        create(Path(options["--file"]), Path(options["--prefix"]))
    else:
        sys.exit(f"the stand-in for conda knows no {' '.join(arguments)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
