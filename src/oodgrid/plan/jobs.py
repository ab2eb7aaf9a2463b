"""What jobs are given: the configuration as a file."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from oodgrid import paths, registry, store
from oodgrid.config import Experiment
from oodgrid.errors import OodgridError
from oodgrid.plugins import apart
from oodgrid.services import without


@dataclass(frozen=True)
class PlannedConfig:
    """The configuration that a run was planned by, in a file named by its content, which its jobs are given.

    A dry run, or a run of another configuration under the same experiment name, can neither change nor replace it.

    Attributes:
        path: Where it lies: `<results>/<experiment>/configs/<digest>.yaml`.
        text: What it says.
    """

    path: Path
    text: str

    @classmethod
    def of(cls, results: Path, experiment: str, config: Mapping[str, Any]) -> PlannedConfig:
        """Return the file of a configuration as Snakemake read it, with what its command line changed."""
        text = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)
        return cls(paths.planned(results, experiment, _name(text.encode())), text)

    def write(self) -> None:
        """Write the file, or where it is there and whole set its time: the last one planned is the newest."""
        if not self.path.exists() or self.path.read_bytes() != self.text.encode():
            with store.atomic(self.path) as beside:
                beside.write_bytes(self.text.encode())
        else:
            without("new times", self.path.parent, lambda: os.utime(self.path))


def check_planned(path: Path) -> None:
    """Refuse a planned configuration that is not what planned the job; any other file of a configuration is free.

    Raises:
        OodgridError: Its content is not that by which it is named, or it is gone.
    """
    if path.parent.name != paths.CONFIGS or not re.fullmatch(r"[0-9a-f]{16}", path.stem):
        return
    if not path.is_file():
        raise OodgridError(f"{path}, by which this job was planned, is gone: run snakemake again")
    if _name(path.read_bytes()) != path.stem:
        raise OodgridError(f"{path} is not what planned this job: delete it and run snakemake again")


def _name(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Return mappings and sequences of any kind as those that YAML knows."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def job_environment(source: Path, python: str | None) -> str:
    """Return the shell line that comes before every job, which gives it the environment in which plugins are tried.

    Conda environments unset PYTHONPATH, so that it is set again. Snakemake fills in braces, hence they are doubled.
    Inputs that were there when the job was planned get a minute: another clone that shares them may make them again.

    Args:
        source: The folder of the package.
        python: The interpreter that `python` means in the commands of rules, which do not name it, for a moved
            environment is to rerun nothing; None for the first in PATH, as that of a conda environment.
    """
    variables = apart.job_variables(source) | {"OODGRID_WAIT": "60"}
    exported = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    interpreter = f'python() {{ {shlex.quote(python)} "$@"; }}; ' if python else ""
    return f"export {exported}; {interpreter}".replace("{", "{{").replace("}", "}}")


def check_deployed(experiment: Experiment) -> None:
    """Refuse scores and methods that a package installed beside Snakemake brings: jobs in a conda environment lack it.

    Raises:
        OodgridError: There are some; the message names them.
    """
    files = {Path(file).resolve() for file in experiment.plugins}
    kinds = {"method": experiment.methods, "score": experiment.scores}
    entries = [registry.find(kind, name) for kind, choices in kinds.items() for name in {each.name for each in choices}]
    foreign = [each for each in entries if each.plugin and each.plugin.resolve() not in files]
    if foreign:
        names = ", ".join(sorted(f"{each.kind} {each.name} ({each.plugin})" for each in foreign))
        raise OodgridError(
            f"{names}: from an installed package, which environments of --use-conda lack; name its file in `plugins:`"
        )
