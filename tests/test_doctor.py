"""`oodgrid doctor`: each finding on a machine that is made to look so, and the verb on small experiments."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from oodgrid import config, plan
from oodgrid.cli import main
from oodgrid.health import filesystem, machine, versions, weights
from oodgrid.health.findings import NOTE, OK, UNFIT

ROOT = Path(__file__).parents[1]

TINY = {"name": "t", "model": "oodgrid-tiny", "pretrained": "random"}
TINY["model_config_file"] = "package:tiny_clip/oodgrid-tiny.json"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with an experiment on a few images."""
    monkeypatch.chdir(tmp_path)
    shades = iter(range(0, 250, 30))  # no image is one of both sets
    for name in ("birds", "fish"):
        for label in ("a", "b"):
            (tmp_path / name / label).mkdir(parents=True)
            for i in range(2):
                Image.fromarray(np.full((8, 8, 3), next(shades), np.uint8)).save(tmp_path / name / label / f"{i}.png")
    ood = {"far": [{"name": "fish", "folder": "fish"}]}
    experiment = {
        "experiment": "e", "backbones": [TINY], "methods": ["zero_shot"], "scores": ["mcm"],
        "id_datasets": [{"name": "birds", "folder": "birds", "ood": ood}],
    }  # fmt: skip
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(experiment))
    return tmp_path


def states(findings):
    return [(each.what, each.state) for each in findings]


# ------------------------------------------------------------------------------------------------------ file system


@pytest.mark.parametrize("place", ["", "results", "results/deeper/still"])
def test_the_probe_is_all_that_is_written_and_it_goes(place, tmp_path):
    findings = list(filesystem.of_folder(tmp_path / place))
    assert findings[0].what == "file system"
    assert findings[0].state in (OK, NOTE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", filesystem._ATTEMPTS)
def test_what_a_file_system_refuses_is_named_and_only_renames_are_needed(name, tmp_path, monkeypatch):
    def refuse(probe):
        raise OSError(95, "Operation not supported")

    if name == "atomic renames":
        monkeypatch.setattr(filesystem, "_ATTEMPTS", {name: refuse})
    else:
        monkeypatch.setitem(filesystem._ATTEMPTS, name, refuse)
    first = next(filesystem.of_folder(tmp_path))
    assert first.state == (UNFIT if name == "atomic renames" else NOTE)
    assert first.mend
    if name != "atomic renames":
        assert f"refuses {name}: done without" in first.text
    assert list(tmp_path.iterdir()) == []


def test_a_rename_that_does_not_replace_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystem.Path, "replace", lambda self, target: None)
    assert states(filesystem.of_folder(tmp_path)) == [("file system", UNFIT)]


def test_a_folder_that_cannot_be_written_to_and_one_on_a_network_are_said(tmp_path, monkeypatch):
    with monkeypatch.context() as changed:
        changed.setattr(
            filesystem.tempfile, "TemporaryDirectory", lambda **_: (_ for _ in ()).throw(OSError(30, "read-only"))
        )
        [found] = filesystem.of_folder(tmp_path)
        assert (found.state, "cannot be written to: read-only" in found.text) == (UNFIT, True)
    monkeypatch.setattr(filesystem, "_kind", lambda place: "nfs4")
    assert ("file system", NOTE) in states(filesystem.of_folder(tmp_path))


@pytest.mark.parametrize(("share", "state"), [(0.0, OK), (2.0, UNFIT), (1.0, NOTE)])
def test_room_is_compared_with_what_is_needed(share, state, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**12, 0, 10**11))
    [found] = filesystem.of_space(tmp_path / "not" / "there", share * 10**11 - 10 * (share == 1), "scores")
    assert found.state == state
    assert "without scores" in found.text


# ---------------------------------------------------------------------------------------------------------- machine


@pytest.mark.parametrize(("free", "total", "state"), [(1e12, 1e12, OK), (1e6, 1e12, NOTE), (1e6, 1e8, UNFIT)])
def test_memory_is_that_of_the_largest_job(free, total, state, folder, monkeypatch):
    monkeypatch.setattr(machine, "_memory", lambda: (free, total))
    [found] = machine.of_memory(folder / "results", config.load(folder / "e.yaml"))
    assert (found.state, "the largest job takes about 3.0 GB" in found.text) == (state, True)


def test_a_container_bounds_cores_and_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    before = machine._memory()
    (tmp_path / "cpu.max").write_text("50000 100000")
    (tmp_path / "memory.max").write_text("1000000000")
    (tmp_path / "memory.current").write_text("900000000")
    (tmp_path / "memory.stat").write_text("anon 400000000\ninactive_file 500000000\n")  # half is what was read of files
    [cores] = machine.of_cores()
    assert (cores.state, cores.mend) == (NOTE, "use --cores 1")
    assert machine._memory() == (min(before[0], 6e8), min(before[1], 1e9))
    (tmp_path / "cpu.max").write_text("max 100000")
    (tmp_path / "memory.max").write_text("max")
    assert [each.state for each in machine.of_cores()] == [OK]
    assert machine._memory()[1] == before[1]


def test_without_a_driver_torch_is_not_asked(folder, monkeypatch):
    monkeypatch.setattr(plan, "has_gpu", lambda: False)
    [found] = machine.of_gpu(config.load(folder / "e.yaml"))
    assert (found.state, "no NVIDIA driver here" in found.text) == (NOTE, True)
    asking = config.load(folder / "e.yaml").model_copy(update={"score_device": "gpu"})
    [found] = machine.of_gpu(asking)
    assert (found.state, "score_device: gpu asks for one" in found.text) == (NOTE, True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is empty" in next(machine.of_gpu(None)).text


def test_an_old_python_will_not_do(monkeypatch):
    monkeypatch.setattr(machine, "OLDEST", (3, 99))
    monkeypatch.setattr(machine, "NEWEST", (3, 99))
    assert states(machine.of_machine()) == [("machine", UNFIT)]


# ------------------------------------------------------------------------------------------------ versions, weights


@pytest.fixture(autouse=True)
def needed(monkeypatch):
    """What the package says that it needs: that of an installation is as old as the installation."""
    needs = ["numpy<3,>=1.26", "h5py>=3.12", 'torch<3,>=2; extra == "encode"', 'snakemake>=9; extra == "workflow"']
    monkeypatch.setattr(versions, "requires", lambda name: needs)


def test_versions_that_will_not_do_are_named_with_the_command(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert {each.state for each in versions.of_versions(set())} == {OK}
    real = versions.version
    monkeypatch.setattr(versions, "version", lambda name: "0.1" if name == "numpy" else real(name))
    [found] = versions.of_versions(set())
    assert found.state == UNFIT
    assert found.text.startswith("numpy 0.1 is not ")
    assert found.mend.startswith("pip install oodgrid")


def test_an_extra_that_is_not_installed_matters_where_it_is_needed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    real = versions.version

    def without_torch(name):
        if name == "torch":
            raise versions.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(versions, "version", without_torch)
    assert [each.state for each in versions.of_versions({"workflow"})] == [OK]
    [found] = versions.of_versions({"workflow", "encode"})
    assert (found.state, found.text) == (UNFIT, "torch is not installed")
    assert "'oodgrid[encode]'" in found.mend


def test_other_versions_than_the_pins_are_a_note(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "constraints.txt").write_text("# pins\nnumpy==0.0.1\nnot-installed-here==3\n\n")
    [found] = versions.of_versions(set())
    assert found.state == NOTE
    assert "(0.0.1): not as in constraints.txt" in found.text


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def backbone(**fields):
        entry = {"name": "b16", "model": "ViT-B-16-quickgelu", "pretrained": "openai"} | fields
        return config.build(config.Backbone, **entry)

    return backbone


def test_weights_are_looked_for_in_the_caches_and_nothing_is_downloaded(backbone, tmp_path, monkeypatch):
    before = sys.modules.get("safetensors.torch")
    [missing] = weights.of_weights([backbone()])
    assert missing.state == NOTE
    assert "the first job downloads them" in missing.text
    assert "open_clip.create_model('ViT-B-16-quickgelu', pretrained='openai')" in missing.mend
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert [each.state for each in weights.of_weights([backbone()])] == [UNFIT]
    snapshot = tmp_path / "hub" / "models--timm--vit_base_patch16_clip_224.openai" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    assert [each.state for each in weights.of_weights([backbone()])] == [UNFIT]  # begun, and no weights in it
    (snapshot / "open_clip_model.safetensors").write_bytes(b"x")
    assert [each.state for each in weights.of_weights([backbone()])] == [OK]
    assert sys.modules.get("safetensors.torch") is before
    old = tmp_path / ".cache" / "clip" / "ViT-L-14.pt"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x")
    assert [each.state for each in weights.of_weights([backbone(model="ViT-L-14-quickgelu")])] == [OK]


@pytest.mark.parametrize(
    ("fields", "state", "said"),
    [
        ({"pretrained": "openia"}, UNFIT, "'openia' is no tag of ViT-B-16-quickgelu"),
        ({"pretrained": "none.pt"}, UNFIT, "none.pt does not exist"),
        ({"pretrained": "random"}, NOTE, "random weights, seed 0"),
        ({"model": "timm/resnet50", "pretrained": "a1_in1k"}, NOTE, "models--timm--resnet50.a1_in1k"),
        ({"model": "oodgrid-tiny", "pretrained": "package:tiny_clip/weights.safetensors"}, OK, "weights.safetensors"),
    ],
)
def test_weights_of_every_kind(fields, state, said, backbone):
    [found] = weights.of_weights([backbone(**fields)])
    assert (found.state, said in found.text) == (state, True)


# ---------------------------------------------------------------------------------------------------------- the verb


def tree(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_machine_that_is_fit_is_told_the_next_command_and_finds_nothing_changed(folder, capsys):
    before = tree(folder)
    assert main(["doctor", "--configfile", "e.yaml"]) == 0
    said = capsys.readouterr().out
    assert f"; next: snakemake --cores {plan.cpus_here()} --configfile e.yaml" in said
    assert "to encode: birds (4 samples), fish (4 samples)" in said
    assert tree(folder) == before


def test_what_is_missing_is_unfit_and_everything_else_is_still_looked_at(folder, capsys):
    shutil.rmtree(folder / "fish")
    assert main(["doctor", "e.yaml", "--json"]) == 1
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    by_what = {each["what"]: each for each in said["findings"]}
    assert (said["fit"], by_what["data"]["state"]) == (False, UNFIT)
    assert "fish does not exist" in by_what["data"]["text"]
    assert said["next"] == by_what["data"]["mend"] == "oodgrid check e.yaml"
    assert {"experiment", "machine", "cores", "memory", "gpu", "versions", "file system", "disk"} <= set(by_what)
    assert "oodgrid: error: not fit: data: dataset fish" in captured.err


def test_a_wrong_configuration_and_none_at_all(folder, capsys):
    (folder / "wrong.yaml").write_text("experiment: e\nbackbone: [tiny]\n")
    assert main(["doctor", "--configfile", "wrong.yaml"]) == 1
    said = capsys.readouterr().out
    assert "unfit" in said
    assert "did you mean 'backbones'" in said
    assert "cores" in said
    assert main(["doctor", "e.yaml", "--configfile", "wrong.yaml"]) == 1
    assert "two experiments are named, e.yaml and wrong.yaml: take one out" in capsys.readouterr().err
    assert main(["doctor"]) == 0
    assert "oodgrid doctor --configfile FILE" in capsys.readouterr().out


def test_sections_of_the_documentation_that_lines_name_are_there():
    """A mend that says "docs/X.md, Y" names a heading of that page."""
    named = [
        (page, section)
        for file in (ROOT / "src").rglob("*.py")
        for page, section in re.findall(
            r"(docs/[\w-]+\.md), ([A-Z][\w ,]+?)(?=[\":.;)]|$)", file.read_text(encoding="utf-8"), re.M
        )
    ]
    assert named
    for page, section in named:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert re.search(rf"^(#+ |\*\*){re.escape(section)}", text, re.M), (page, section)


def test_the_range_of_python_is_that_of_pyproject_and_the_makefile():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    (major, oldest), (_, newest) = machine.OLDEST, machine.NEWEST
    assert wanted == f">={major}.{oldest},<{major}.{newest + 1}"
    assert f"({major}, {oldest}) <= sys.version_info < ({major}, {newest + 1})" in (ROOT / "Makefile").read_text()
