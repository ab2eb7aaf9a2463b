"""What is checked before a commit, by `make lint` and by CI is one list; every dependency is pinned."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOOKS = [
    hook
    for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    for hook in repo["hooks"]
]


def commands(target):
    """Return the commands of a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return [line.strip() for line in found[1].splitlines()]


def program(command):
    """Return what a command runs, without its options and files."""
    return re.match(r"(python -m \w+( format| check)?|[\w-]+)", command)[0]


def test_hooks_run_what_make_lint_runs():
    assert sorted(program(hook["entry"]) for hook in HOOKS) == sorted(map(program, commands("lint")))
    assert {hook["language"] for hook in HOOKS} == {"system"}, "a hook that fetches is not the pinned version"


def test_ci_runs_what_is_run_here():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    steps = yaml.safe_load(workflow)["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert "secrets." not in workflow
    called = re.findall(r"^make (\S+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert called[0] == "test"
    assert all(commands(target) for target in called)


@pytest.mark.parametrize("extra", ["", "encode", "workflow", "slurm", "dev"])
def test_what_make_installs_is_pinned(extra):
    project = PROJECT["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {plain(pin.partition("==")[0]) for pin in pins}
    assert not {plain(re.match(r"[\w.-]+", each)[0]) for each in wanted} - pinned


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()
