"""Kills, full disks and several writers, for real: processes that die, a file system without room."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from oodgrid import store
from oodgrid.errors import OodgridError

pytest.importorskip("torch")

IMAGES = 640
PARENT = """
# Loads the libraries once; then encodes in a child of its own for every line that it reads, and says its number.
import os, sys
import torch, open_clip, h5py, tqdm
from oodgrid import cli
from oodgrid.encode import images, pipeline, work
work.ROWS = 64
for line in sys.stdin:
    child = os.fork()
    if not child:
        os._exit(cli.main(line.split()))
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """An experiment of one folder of images."""
    folder = tmp_path_factory.mktemp("faults")
    for k in range(IMAGES):
        path = folder / "photos" / f"class {k % 2}" / f"{k:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
    photos = {"name": "photos", "folder": str(folder / "photos"), "ood": {"far": ["noise"]}}
    experiment = {
        "experiment": "faults",
        "backbones": ["tiny"],
        "id_datasets": [photos],
        "methods": ["zero_shot"],
        "scores": ["mcm"],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(experiment))
    return folder / "config.yaml"


class Encoder:
    """Starts `oodgrid encode images` as processes of their own, without loading the libraries for each."""

    def __init__(self, config: Path) -> None:
        self.config = config
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self, results: Path) -> int:
        arguments = f"encode images --config {self.config} --dataset photos --results {results}"
        self.parent.stdin.write(arguments + "\n")
        self.parent.stdin.flush()
        return self._number()

    def wait(self) -> int:
        """Return the exit status of the child, negative where a signal ended it."""
        return self._number()

    def _number(self) -> int:
        while not (line := self.parent.stdout.readline().strip()).lstrip("-").isdigit():
            assert self.parent.poll() is None, "the parent ended"  # else it is what the child said
        return int(line)

    def close(self) -> None:
        self.parent.stdin.close()
        self.parent.wait(30)


@pytest.fixture
def encoder(config):
    made = Encoder(config)
    yield made
    made.close()


def feature_file(results: Path) -> Path:
    return results / "features" / "tiny" / "photos" / "test.h5"


def content(path: Path) -> tuple:
    store.check(path)
    found = store.read_features(path)
    return found.digest, found.image_features.tobytes(), found.sha256.tobytes(), tuple(found.paths)


@pytest.mark.slow
def test_kill_9_at_random_moments_loses_nothing(encoder, tmp_path):
    started = time.monotonic()
    encoder.start(tmp_path / "undisturbed")
    assert encoder.wait() == 0
    takes = time.monotonic() - started
    wanted = content(feature_file(tmp_path / "undisturbed"))
    chance = random.Random(0)
    kills = ends = 0
    results = tmp_path / "killed"
    while kills < 20 or not ends:
        child = encoder.start(results)
        time.sleep(chance.uniform(0, takes))
        with contextlib.suppress(ProcessLookupError):  # it was faster
            os.kill(child, signal.SIGKILL)
        status = encoder.wait()
        kills += status == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL)
        if feature_file(results).exists():  # then it is the whole of it
            assert content(feature_file(results)) == wanted
            ends += 1
            shutil.rmtree(results)  # and from the beginning
    encoder.start(results)
    assert encoder.wait() == 0
    assert content(feature_file(results)) == wanted


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_where_it_was(encoder, tmp_path):
    results = tmp_path / "results"
    child = encoder.start(results)
    while len(list(results.rglob("*.safetensors"))) < 3:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert encoder.wait() == -signal.SIGKILL
    finished = {path.name: path.read_bytes() for path in results.rglob("0*.safetensors")}
    times = {path: path.stat().st_mtime_ns for path in results.rglob("0*.safetensors")}
    assert 3 <= len(finished) < IMAGES / 64
    child = encoder.start(results)
    while len(there := list(results.rglob("0*.safetensors"))) == len(finished):
        time.sleep(0.002)
    os.kill(child, signal.SIGSTOP)  # another chunk has come: those from before were left alone
    assert {path: path.stat().st_mtime_ns for path in there if path in times} == times
    os.kill(child, signal.SIGCONT)
    assert encoder.wait() == 0


@pytest.mark.slow
def test_two_processes_with_one_target(config, tmp_path):
    encoders = [Encoder(config) for _ in range(2)]
    for encoder in encoders:
        encoder.start(tmp_path / "results")
    assert [encoder.wait() for encoder in encoders] == [0, 0]
    encoders[0].start(tmp_path / "alone")
    assert encoders[0].wait() == 0
    for encoder in encoders:
        encoder.close()
    assert content(feature_file(tmp_path / "results")) == content(feature_file(tmp_path / "alone"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # h5py tells it a second time
@pytest.mark.parametrize("free", range(0, 300_000, 25_000))
def test_a_full_disk_leaves_the_old_file_or_none(small_disk, make_features, free):
    """Wherever the room ends: in the data, at the flush, at the closing of the file."""
    path = small_disk / "f.h5"
    store.write_features(path, make_features())
    old = path.read_bytes()
    with (small_disk / "ballast").open("wb") as ballast:
        room = os.statvfs(small_disk)
        ballast.write(bytes(max(0, room.f_bavail * room.f_frsize - free)))
    large = make_features(n=1000, d=64)  # 256 kB and more
    try:
        store.write_features(path, large)
    except Exception as error:
        assert "the disk is full" in str(error)
        assert path.read_bytes() == old
    else:
        assert store.read_features(path).image_features.shape == (1000, 64)
    assert {file.name for file in small_disk.iterdir()} == {"f.h5", "ballast"}


def test_a_disk_that_is_read_only_is_one_line(small_disk, make_features):
    store.write_features(small_disk / "f.h5", make_features())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for path in (small_disk / "f.h5", small_disk / "new" / "f.h5"):
        with pytest.raises(OodgridError, match=f"^{path} cannot be written: its disk is mounted read-only"):
            store.write_features(path, make_features(seed=1))
    assert store.read_features(small_disk / "f.h5").digest


@pytest.mark.slow
def test_encoding_on_a_disk_that_fills_goes_on_when_there_is_room(encoder, small_disk, tmp_path):
    (small_disk / "ballast").write_bytes(bytes(150_000))
    encoder.start(small_disk / "results")
    assert encoder.wait() == 1
    assert not feature_file(small_disk / "results").exists()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    encoder.start(small_disk / "results")
    assert encoder.wait() == 0
    encoder.start(tmp_path / "elsewhere")
    assert encoder.wait() == 0
    assert content(feature_file(small_disk / "results")) == content(feature_file(tmp_path / "elsewhere"))
