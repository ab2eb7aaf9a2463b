"""The profiles as Snakemake reads them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import yaml
from snakemake.profiles import ProfileConfigFileParser

PROFILES = Path(__file__).parents[2] / "profiles"


def read(name):
    with (PROFILES / name / "profile.yaml").open() as file:
        return ProfileConfigFileParser().parse(file)


@pytest.fixture
def plugin(monkeypatch):
    """A function that makes Snakemake's plugin for Slurm one that is installed, or is not."""
    real = importlib.util.find_spec

    def make(there):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: there if "slurm" in name else real(name))

    return make


@pytest.mark.parametrize(
    ("says", "asked"),
    [
        ("echo 'AccountingStorageType   = accounting_storage/slurmdbd'", "sacct"),
        ("echo 'AccountingStorageType   = accounting_storage/none'", "squeue"),
        ("echo 'AccountingStorageType   = (null)'", "squeue"),
        ("echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1", "squeue"),
    ],
)
def test_slurm_is_asked_by_what_knows_its_jobs(monkeypatch, tmp_path, plugin, says, asked):
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\n{says}\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    plugin(True)
    assert read("slurm")["slurm-status-command"] == asked


def test_a_missing_plugin_is_one_line_that_says_how_to_install_it(plugin):
    plugin(False)
    with pytest.raises(SystemExit) as caught:
        read("slurm")
    assert str(caught.value).startswith("oodgrid: error: ")
    assert "pip install -c constraints.txt snakemake-executor-plugin-slurm" in str(caught.value)


def test_the_default_profile_which_wins_names_nothing_that_the_other_does(plugin):
    plugin(True)
    assert not read("default").keys() & read("slurm").keys()
    default = yaml.safe_load((PROFILES / "default" / "profile.yaml").read_text())
    assert not default.keys() & {"cores", "jobs", "default-resources", "set-resources", "set-threads"}  # the user's own
