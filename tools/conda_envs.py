"""Write workflow/envs/*.yaml from pyproject.toml, so that conda and pip install one list: `make envs`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# What conda-forge calls differently from PyPI.
CONDA = {
    "matplotlib": "matplotlib-base",  # without Qt
    "open_clip_torch": "open-clip-torch",
    "torch": "pytorch",
    "xxhash": "python-xxhash",
}
# Of each file: what it is for, the extras of pyproject.toml in it, and the build of torch.
ENVIRONMENTS = {
    "analysis": ("score, evaluate and report: no torch", (), ""),
    "torch-cpu": ("encode and adapt on CPUs", ("encode", "hf"), "cpu*"),
    "torch-gpu": ("encode and adapt on GPUs of NVIDIA's", ("encode", "hf"), "cuda*"),
}


def contents(name: str) -> str:
    """Return the text of an environment's file.

    Args:
        name: One of ENVIRONMENTS.
    """
    purpose, extras, build = ENVIRONMENTS[name]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    packages = sorted(_conda(Requirement(each), build) for each in wanted)
    lines = [f"python {project['requires-python']}", *packages]
    return "\n".join(
        [
            f"# {purpose[0].upper()}{purpose[1:]}. Written by `make envs` from pyproject.toml.",
            "channels: [conda-forge, nodefaults]",
            "dependencies:",
            *(f"  - {line}" for line in lines),
            "",
        ]
    )


def _conda(requirement: Requirement, build: str) -> str:
    versions = ",".join(sorted(map(str, requirement.specifier), reverse=True))  # >= before <
    name = CONDA.get(requirement.name, requirement.name)
    return f"{name} {versions} {build if name == 'pytorch' else ''}".rstrip()


if __name__ == "__main__":
    for name in ENVIRONMENTS:
        (ROOT / "workflow" / "envs" / f"{name}.yaml").write_text(contents(name), encoding="utf-8")
