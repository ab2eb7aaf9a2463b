"""What a file system refuses is done without, and said once: FUSE, CIFS, NFS and exFAT."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from oodgrid import cli, devices, services, store
from oodgrid.errors import OodgridError
from oodgrid.kept import link

REFUSED = ["EPERM", "EINVAL", "ENOLCK", "EOPNOTSUPP", "ENOTSUP", "ENOSYS"]


@pytest.fixture(autouse=True)
def nothing_said():
    services._refused.cache_clear()
    yield
    services._refused.cache_clear()


@pytest.fixture(params=REFUSED)
def refusing(request, monkeypatch):
    """A file system that has files and nothing else."""
    number = getattr(errno, request.param)

    def refuses(*given, **more):
        raise OSError(number, os.strerror(number))

    for owner, names in ((os, ("link", "chmod", "fsync", "utime", "fchmod")), (fcntl, ("flock", "lockf"))):
        for name in names:
            monkeypatch.setattr(owner, name, refuses)
    monkeypatch.setattr(Path, "chmod", refuses)
    monkeypatch.setattr(Path, "hardlink_to", refuses)
    return number


def test_files_of_every_kind_are_written(refusing, tmp_path, make_features, capfd):
    for _ in range(2):
        store.write_features(tmp_path / "f.h5", make_features())
        store.write_arrays(tmp_path / "a.safetensors", {"a": np.ones(2)})
        store.write_table(tmp_path / "t.parquet", pl.DataFrame({"a": [1]}))
        store.write_json(tmp_path / "m.json", {"a": 1})
        link(tmp_path / "m.json", tmp_path / "linked" / "m.json")
    assert store.read_json(tmp_path / "linked" / "m.json") == {"a": 1}
    assert len(store.read_features(tmp_path / "f.h5").labels) == 6
    lines = capfd.readouterr().err.splitlines()
    said = [line.split(" refuses ")[1] for line in lines]
    reason = os.strerror(refusing)
    assert sorted(said) == sorted(
        f"{service} ({reason}): done without" for service in ("fsync", "fsync of folders", "hard links")
    )


def test_devices_are_shared_where_nothing_can_be_locked(refusing, tmp_path, capfd):
    assert devices.pick(["a", "b"], tmp_path) in ("cuda:0", "cuda:1")
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_broken_or_full_disk_is_no_refusal(monkeypatch, tmp_path, number):
    def breaks(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", breaks)
    with pytest.raises((OSError, OodgridError)):
        store.write_json(tmp_path / "m.json", {})
    assert not list(tmp_path.iterdir())


def test_a_kept_file_of_another_user_is_copied(monkeypatch, tmp_path, capfd):
    """A second name would keep its old time, and whoever did not make a file may not set that."""
    store.write_json(tmp_path / "kept.json", {"a": 1})
    os.utime(tmp_path / "kept.json", (1, 1))

    def refuses(*given, **more):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "utime", refuses)
    link(tmp_path / "kept.json", tmp_path / "m.json")
    assert (tmp_path / "m.json").stat().st_mtime > 1
    assert not (tmp_path / "m.json").samefile(tmp_path / "kept.json")
    assert store.read_json(tmp_path / "m.json") == {"a": 1}


@pytest.mark.parametrize("refusing", ["EPERM", pytest.param("ENOLCK", marks=pytest.mark.slow)], indirect=True)
def test_a_whole_experiment_runs_there(refusing, tmp_path, write_yaml, monkeypatch, capfd):
    """The stages themselves, one after the other, in this process."""
    pytest.importorskip("open_clip")
    monkeypatch.chdir(tmp_path)
    world = {"group": "id", "train": 2, "val": 1, "test": 1}
    config = write_yaml(
        {
            "experiment": "mini",
            "backbones": ["tiny"],
            "id_datasets": [
                {
                    "name": "world",
                    "concept_world": world,
                    "ood": {"far": [{"name": "some-noise", "generated": {"kind": "noise", "images": 8}}]},
                }
            ],
            "methods": ["zero_shot", "prototype"],
            "shots": [1],
            "seeds": [1],
            "scores": ["mcm", "energy"],
        }
    )

    def oodgrid(*arguments):
        assert cli.main([*arguments, "--config", str(config)]) == 0, capfd.readouterr().err

    oodgrid("encode", "images")
    oodgrid("encode", "texts")
    for method in ("zero_shot", "prototype"):
        where = ("--backbone", "tiny", "--id-dataset", "world", "--method", method)
        oodgrid("adapt", "fit", *where)
        oodgrid("adapt", "apply", *where)
        oodgrid("score", *where)
    oodgrid("evaluate")
    assert store.read_table(tmp_path / "results/mini/metrics.parquet")[0]["auroc"].is_not_null().all()
    said = [line for line in capfd.readouterr().err.splitlines() if line.endswith("done without")]
    assert len(said) == len({line.split(" refuses ")[1] for line in said}) >= 3


def test_two_threads_that_silence_stderr_give_it_back():
    before, both = os.fstat(2), threading.Event()

    def read(wait):
        with services.silenced():
            both.wait(wait)  # as long as the other would need to come in

    threads = [threading.Thread(target=read, args=(wait,)) for wait in (0.2, 0.3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
