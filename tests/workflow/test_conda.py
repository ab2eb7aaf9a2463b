"""The conda environments: written from pyproject.toml, and enough for the jobs that run in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from tests.workflow import stand_in_conda
from tests.workflow.stand_in_conda import conda_envs

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "workflow" / "envs"
NAMES = list(conda_envs.ENVIRONMENTS)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_written_from_pyproject(name):
    assert (ENVIRONMENTS / f"{name}.yaml").read_text() == conda_envs.contents(name), "run `make envs`"


def test_rules_name_these_files_and_no_others():
    assert {file.stem for file in ENVIRONMENTS.iterdir()} == set(NAMES)
    rules = "".join(file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk"))
    assert all(f'"{name}"' in rules for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_pins_are_within_the_ranges(name):
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    pins = {canonicalize_name(package): version for package, version in pins.items()}
    listed = stand_in_conda.requirements(ENVIRONMENTS / f"{name}.yaml")
    assert listed
    for requirement in listed:
        if requirement.name not in stand_in_conda.ABSENT:
            assert pins[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.slow
def test_a_run_in_environments_of_conda(clone, tmp_path):
    """Every stage finds what it needs there; switching conda off or on, or other releases in it, runs nothing again."""
    demo = yaml.safe_load((clone.folder / "config.yaml").read_text(encoding="utf-8"))
    demo |= {"methods": ["zero_shot", {"name": "coop", "epochs": 1}], "shots": [1], "seeds": [1]}
    demo["id_datasets"][0]["ood"] = {"far": ["digits"]}
    clone.write(demo)
    clone.env["PATH"] = f"{stand_in_conda.install(tmp_path / 'conda')}{os.pathsep}{clone.env['PATH']}"
    clone.snakemake("--use-conda", "--conda-create-envs-only")
    created = sorted((clone.folder / ".snakemake" / "conda").glob("*/pyvenv.cfg"))
    assert len(created) == 2
    for environment in created:
        site = next(environment.parent.glob("lib/python*/site-packages"))
        assert not (site / "snakemake").exists()
        _another_release(site, "scipy")
    clone.snakemake("--use-conda")
    assert set(clone.metrics("demo")["status"]) <= {"ok", "skipped"}
    for options in ((), ("--use-conda",)):
        assert "Nothing to be done" in clone.snakemake("-n", *options)


def _another_release(site: Path, library: str) -> None:
    """Have the metadata of a library in an environment say another release than that which plans the run."""
    link = next(site.glob(f"{library}-*.dist-info"))
    text = (link / "METADATA").read_text(encoding="utf-8")
    link.unlink()
    (site / f"{library}-9.9.9.dist-info").mkdir()
    changed = "\n".join("Version: 9.9.9" if line.startswith("Version: ") else line for line in text.split("\n"))
    (site / f"{library}-9.9.9.dist-info" / "METADATA").write_text(changed, encoding="utf-8")


@pytest.mark.slow
def test_scores_of_an_installed_package_are_refused(imported, tmp_path):
    clone, experiment = imported
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "their_scores.py").write_text(
        "from oodgrid.registry import score\n\n@score(needs=('logits',))\ndef theirs(logits):\n    return logits[0]\n"
    )
    metadata = tmp_path / "there" / "theirs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[oodgrid.plugins]\ntheirs = their_scores\n")
    clone.env["PYTHONPATH"] += os.pathsep + str(tmp_path / "there")
    clone.env["PATH"] = f"{stand_in_conda.install(tmp_path / 'conda')}{os.pathsep}{clone.env['PATH']}"
    clone.write(experiment | {"scores": ["theirs"]})
    assert "Nothing" not in clone.snakemake("-n")
    assert "score theirs" in clone.snakemake("-n", "--use-conda", ok=False)
