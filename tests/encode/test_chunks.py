"""What is kept of an encoding that was broken off, and when it may be taken up again."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodgrid import backbones, store
from oodgrid.config import Backbone, Dataset
from oodgrid.encode import chunks, pipeline, work
from oodgrid.encode.images import encode_images
from oodgrid.encode.work import Shard
from oodgrid.errors import OodgridError

pytest.importorskip("torch")

BATCH = pipeline.BATCH["cpu"]
COUNT = 5 * BATCH + 7


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(work, "ROWS", BATCH)


@pytest.fixture
def folder(tmp_path):
    for k in range(COUNT):
        path = tmp_path / "photos" / f"class {k % 3}" / f"{k:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def encode(tmp_path, untrained, folder):
    def run(results="results", shard=work.WHOLE, **fields):
        dataset = Dataset(name="photos", folder=str(folder), **fields)
        return encode_images(tmp_path / results, Backbone(**untrained), dataset, shard)

    return run


@pytest.fixture
def encoded_rows(monkeypatch):
    """How many images went through the network, by call."""
    seen = []
    embed = backbones.LoadedBackbone.encode_image

    def counted(self, pixels):
        seen.append(len(pixels))
        return embed(self, pixels)

    monkeypatch.setattr(backbones.LoadedBackbone, "encode_image", counted)
    return seen


def same(one: Path, other: Path) -> bool:
    """Whether two feature files hold the same bytes, but for the record of when and where."""
    a, b = store.read_features(one), store.read_features(other)
    return (
        a.image_features.tobytes() == b.image_features.tobytes()
        and (a.digest, a.provenance) == (b.digest, b.provenance)
        and list(a.paths) == list(b.paths)
        and a.sha256.tobytes() == b.sha256.tobytes()
    )


def images(folder):
    return sorted(folder.rglob("*.png"))


def break_one(folder, number):
    path = images(folder)[number]
    good = path.read_bytes(), path.stat()
    path.write_bytes(good[0][:100])
    return path, good


def mend(path, good):
    path.write_bytes(good[0])
    os.utime(path, ns=(good[1].st_atime_ns, good[1].st_mtime_ns))


def test_a_run_goes_on_at_the_last_finished_chunk_and_ends_as_an_undisturbed_one(encode, folder, encoded_rows):
    path, good = break_one(folder, 4 * BATCH + 3)
    with pytest.raises(OodgridError, match="broken image"):
        encode()
    before = len(encoded_rows)
    assert before >= 1
    mend(path, good)
    (resumed,) = encode()
    assert before + len(encoded_rows[before:]) <= 6 + pipeline.BATCHES_AHEAD  # nothing was done twice, but for the rest
    again = len(encoded_rows) - before
    assert again < 6
    (undisturbed,) = encode("other")
    assert same(resumed, undisturbed)


@pytest.mark.parametrize("parts", [1, 2, 5, 9])
def test_shards_change_nothing(encode, parts, tmp_path):
    for number in range(1, parts + 1):
        assert encode(shard=Shard(number, parts)) == [] or parts == 1
    (joined,) = encode()
    (whole,) = encode("other")
    assert same(joined, whole)


def test_the_job_that_joins_shards_encodes_nothing(encode, encoded_rows):
    encode(shard=Shard(1, 2))
    encode(shard=Shard(2, 2))
    before = len(encoded_rows)
    encode()
    assert len(encoded_rows) == before == 6


def test_a_missing_shard_is_encoded_by_the_joining_job(encode, encoded_rows):
    encode(shard=Shard(2, 2))
    (joined,) = encode()
    assert same(joined, encode("other")[0])


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3"])
def test_a_wrong_shard_is_one_line(text):
    with pytest.raises(OodgridError, match="2/8"):
        Shard.parse(text)


def test_a_deleted_feature_file_comes_back_without_encoding(encode, encoded_rows):
    (path,) = encode()
    before, content = len(encoded_rows), path.read_bytes()
    path.unlink()  # as Snakemake does before it reruns a job
    encode()
    assert len(encoded_rows) == before
    assert path.read_bytes() == content


def test_no_chunk_is_left_once_the_whole_stands(encode, tmp_path):
    encode()
    kept = [path for path in (tmp_path / "results" / "kept").rglob("*") if path.is_file()]
    assert [path.name for path in kept] == ["whole.h5"]


def test_the_feature_file_takes_no_room_of_its_own(encode, tmp_path):
    (path,) = encode()
    (whole,) = (tmp_path / "results" / "kept").rglob("whole.h5")
    assert path.samefile(whole)


def test_without_hard_links_it_is_a_copy(encode, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (path,) = encode()
    (whole,) = (tmp_path / "results" / "kept").rglob("whole.h5")
    assert path.read_bytes() == whole.read_bytes()


def test_damage_to_the_kept_file_is_noticed_and_mended(encode):
    (path,) = encode()
    good = store.read_features(path)
    data = bytearray(path.read_bytes())
    data[data.index(good.image_features[7].tobytes())] ^= 1
    path.write_bytes(data)  # the same file under both names
    path.unlink()
    encode()
    assert store.read_features(path).digest == good.digest


def test_a_damaged_chunk_is_made_again(encode, tmp_path, encoded_rows):
    encode(shard=Shard(1, 2))
    first = min((tmp_path / "results" / "kept").rglob("*.safetensors"))
    data = bytearray(first.read_bytes())
    data[-20] ^= 4
    first.write_bytes(data)
    before = len(encoded_rows)
    encode(shard=Shard(1, 2))
    assert len(encoded_rows) == before + 1
    assert same(encode()[0], encode("other")[0])


def test_so_is_one_whose_local_features_are_damaged(tmp_path, folder, untrained, monkeypatch):
    monkeypatch.setattr(work, "LOCAL_ROWS", BATCH)
    backbone, dataset = Backbone(**untrained, local_features=True), Dataset(name="photos", folder=str(folder))
    encode_images(tmp_path / "a", backbone, dataset, Shard(1, 2))
    first = min((tmp_path / "a" / "kept").rglob("*.local.safetensors"))
    data = bytearray(first.read_bytes())
    data[-20] ^= 4
    first.write_bytes(data)
    (one,), (other,) = (encode_images(tmp_path / name, backbone, dataset) for name in ("a", "b"))
    assert same(one, other)
    assert store.read_attribute(one, "checksums") == store.read_attribute(other, "checksums")


@pytest.mark.parametrize("finished", ["chunk", "whole"])
def test_what_was_made_of_an_image_that_has_changed_since_is_made_again(encode, folder, finished):
    if finished == "chunk":
        encode(shard=Shard(1, 2))
    else:
        encode()[0].unlink()
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(images(folder)[1])
    assert same(encode()[0], encode("other")[0])


@pytest.mark.parametrize("finished", ["chunk", "whole"])
def test_so_is_what_was_made_of_a_source_without_times(tmp_path, untrained, finished):
    """Such as a dataset of torchvision, of which nothing but the pixels tells that it is another."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1]))
        (raw / f"{part}-images-idx3-ubyte").touch()

    def encode(shade, results="results", shard=work.WHOLE):
        head = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28])
        (raw / "t10k-images-idx3-ubyte").write_bytes(head + bytes(784) + bytes([shade]) * 784)
        dataset = Dataset(name="f", torchvision={"dataset": "FashionMNIST", "root": str(tmp_path)})
        return encode_images(tmp_path / results, Backbone(**untrained), dataset, shard)

    if finished == "chunk":
        encode(10, shard=Shard(2, 2))
    else:
        encode(10)[0].unlink()
    assert same(encode(200)[0], encode(200, "other")[0])


def test_renamed_classes_are_another_split(encode, folder):
    (path,) = encode()
    path.unlink()
    (folder / "class 0").rename(folder / "class 3")
    (path,) = encode()
    assert store.read_features(path).classnames == ["class 1", "class 2", "class 3"]


# --------------------------------------------------------------------------------------------- on_error: skip


def test_a_skipped_image_is_recorded_and_changes_no_other(encode, folder):
    whole = store.read_features(encode("sound")[0])
    broken, _ = break_one(folder, BATCH + 2)
    (path,) = encode(on_error="skip")
    found = store.read_features(path)
    name = broken.relative_to(folder).as_posix()
    assert [name] == [skipped for skipped, _ in found.provenance["skipped"]]
    assert "broken image" in found.provenance["skipped"][0][1]
    keep = [row for row, there in enumerate(whole.paths) if there != name]
    assert list(found.paths) == [whole.paths[row] for row in keep]
    np.testing.assert_array_equal(found.image_features, whole.image_features[keep])
    np.testing.assert_array_equal(found.labels, whole.labels[keep])
    np.testing.assert_array_equal(found.sha256, whole.sha256[keep])


def test_a_batch_of_broken_images_alone(encode, folder):
    whole = store.read_features(encode("sound")[0])
    for number in range(BATCH, 2 * BATCH):
        break_one(folder, number)
    found = store.read_features(encode(on_error="skip")[0])
    np.testing.assert_array_equal(
        found.image_features, np.delete(whole.image_features, np.s_[BATCH : 2 * BATCH], axis=0)
    )
    assert len(found.provenance["skipped"]) == BATCH


def test_nothing_but_broken_images_is_one_line(encode, folder):
    for number in range(COUNT):
        break_one(folder, number)
    with pytest.raises(OodgridError, match="no image of photos could be read"):
        encode(on_error="skip")


def test_an_image_for_which_memory_is_too_small_is_never_skipped(encode, folder, monkeypatch):
    """It may be sound, and another machine would have it in its numbers."""

    def load(image):
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(OodgridError, match="too little memory to decode it"):
        encode(on_error="skip")


def test_after_a_broken_image_skipping_goes_on_where_stopping_stopped(encode, folder, encoded_rows):
    break_one(folder, COUNT - 1)
    with pytest.raises(OodgridError, match="or write on_error: skip"):
        encode()
    before = len(encoded_rows)
    encode(on_error="skip")
    assert len(encoded_rows) - before < 6


def test_what_lacks_images_is_not_taken_for_whole(encode, folder):
    path, good = break_one(folder, 3)
    encode(on_error="skip")[0].unlink()
    with pytest.raises(OodgridError, match="broken image"):
        encode()
    mend(path, good)
    (found,) = encode()
    assert len(store.read_features(found).labels) == COUNT


def test_a_skipped_image_that_is_mended_comes_in(encode, folder):
    path, good = break_one(folder, 3)
    encode(on_error="skip")[0].unlink()
    mend(path, good)
    (found,) = encode(on_error="skip")
    assert len(store.read_features(found).labels) == COUNT


# ------------------------------------------------------------------------------------------ several at a time


def test_two_writers_of_one_target_leave_one_whole_file(encode):
    errors = []

    def run():
        try:
            encode()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert same(encode()[0], encode("other")[0])


def test_a_joiner_whose_chunks_were_joined_by_another_is_content(encode, tmp_path, monkeypatch):
    join = chunks.Chunks._join

    def beaten(self, *options):
        join(self, *options)  # another process was faster,
        shutil.rmtree(self.folder)  # and tidied up
        self.__dict__.pop("_columns", None)
        join(self, *options)

    monkeypatch.setattr(chunks.Chunks, "_join", beaten)
    (path,) = encode()
    monkeypatch.undo()
    assert len(store.read_features(path).labels) == COUNT
