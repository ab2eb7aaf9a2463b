"""Archives hold what they held when they were made, or are refused: cut, flipped, joined, and of odd members."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from oodgrid.config import Dataset
from oodgrid.encode.decode import decode
from oodgrid.encode.sources import open_split, reading
from oodgrid.errors import OodgridError
from tests import failing


def png(k):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


FILES = {f"{name}/{k}.png": png(len(name) * 10 + k) for name in ("cat", "doe", "été") for k in range(3)}
SAMPLES = {f"{k:03}.{kind}": png(k) if kind == "png" else b"%d" % (k % 3) for k in range(6) for kind in ("png", "cls")}


def tarred(files=FILES, form=tarfile.PAX_FORMAT, **more):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5  # which makes a record of every header in pax
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def zipped(files=FILES, method=zipfile.ZIP_DEFLATED):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def in_two(pack, data=None):
    """Two streams of one kind, one after the other, as pbzip2 and pigz make them."""
    data = tarred() if data is None else data
    return pack(data[:3000]) + pack(data[3000:])


ARCHIVES = {
    "pax.tar": tarred(),
    "gnu.tar": tarred(form=tarfile.GNU_FORMAT),
    "ustar.tar": tarred(form=tarfile.USTAR_FORMAT),
    "a.tar.gz": in_two(gzip.compress),
    "a.tar.bz2": in_two(bz2.compress),
    "a.tar.xz": in_two(lzma.compress),
    "stored.zip": zipped(method=zipfile.ZIP_STORED),
    "deflated.zip": zipped(),
    "bzip2.zip": zipped(method=zipfile.ZIP_BZIP2),
    "lzma.zip": zipped(method=zipfile.ZIP_LZMA),
    "pax.wds": tarred(SAMPLES),
    "gnu.wds": tarred(SAMPLES, tarfile.GNU_FORMAT),
}


def opened(path, data=None, **more):
    if data is not None:
        path.write_bytes(data)
    if path.suffix == ".wds":
        return open_split(Dataset(name="own", webdataset={"shards": str(path), **more}), "test")
    return open_split(Dataset(name="own", archive=str(path), **more), "test")


def bytes_of(images):
    return {name: images.read(row) for row, name in enumerate(images.paths)}


def failure(path, data=None, **more):
    line = failing.failure(lambda: bytes_of(opened(path, data, **more)))
    assert path.name in line
    return line


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_is_whole_is_read(tmp_path, name):
    images = opened(tmp_path / name, ARCHIVES[name])
    wanted = {f"{name}/{k}": v for k, v in SAMPLES.items() if k.endswith("png")} if name.endswith("wds") else FILES
    assert bytes_of(images) == wanted
    assert not images.passed_over


# ----------------------------------------------------------------------------------------------- cut and flipped


def cut(draw, data):
    return data[: draw.randrange(len(data))]


def flip(draw, data):
    data = bytearray(data)
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def hole(draw, data):
    """Zeros in the middle, as of a download of which a part is missing; at the end they would pass for the end."""
    start, size = draw.randrange(max(len(data.rstrip(b"\0")) - 2048, 512)), draw.choice((512, 1024))
    start, stop = start - start % 512, start - start % 512 + size
    return data[:start] + bytes(len(data[start:stop])) + data[stop:]


def check_damaged(path, wanted, damaged):
    """Return what became of a damaged archive, where every image of it is read as it was, or said not to be."""
    try:
        images = opened(path, damaged)
    except OodgridError as error:
        assert "\n" not in str(error)
        return "refused"
    left = len(wanted) - len(images)
    assert 0 <= left <= sum(images.passed_over.values()), f"{left} images lost without a word"
    told = "read"
    for row, name in enumerate(images.paths):
        try:
            if images.read(row) == wanted.get(name, images.read(row)):  # a name in no list is of no sum in a tar
                continue
            assert ".zip" not in path.name, f"{name} is another image"
            decode(images.read(row), name)  # nothing in a tar vouches for the bytes of a member
            told = "other bytes"
        except OodgridError as error:
            assert name in str(error)
            told = "named"
    return told


def damaged_often(tmp_path, name, times, seed):
    draw = random.Random(f"{name}/{seed}")
    whole, path = ARCHIVES[name], tmp_path / name
    wanted = bytes_of(opened(path, whole))
    return [check_damaged(path, wanted, draw.choice((cut, flip, flip, hole))(draw, whole)) for _ in range(times)]


@pytest.mark.parametrize("name", ARCHIVES)
def test_nothing_is_lost_without_a_word(tmp_path, name):
    told = damaged_often(tmp_path, name, 40, 0)
    assert told.count("refused") >= 5
    assert told.count("other bytes") < 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHIVES)
def test_nothing_is_lost_without_a_word_in_a_campaign(tmp_path, name):
    assert set(damaged_often(tmp_path, name, 1000, 1)) >= {"refused"}


@pytest.mark.parametrize("name", ["pax.tar", "gnu.wds", "stored.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_every_cut_is_refused(tmp_path, name):
    """But for one within the zeros with which a tar ends, where nothing is lost."""
    whole = ARCHIVES[name]
    end = len(whole) if "r." in name or "zip" in name else -(-len(whole.rstrip(b"\0")) // 512) * 512 + 1024
    for stop in {0, 1, 511, 512, end - 512, end - 1, *range(0, end, 397)}:
        failure(tmp_path / name, whole[:stop])
    opened(tmp_path / name, whole[:end])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:1024] + bytes(2048) + data[3072:], "goes on behind the end of a tar, after cat/0.png"),
        (lambda data: data + data, "goes on behind the end of a tar, after été/2.png: it is damaged, or several"),
        (lambda data: data + b"junk", "goes on behind the end of a tar"),
        (lambda data: data + bytes(2**16), "zeros after été/2.png, more than a tar is filled up with"),
        (lambda data: data[:4608], "ends in the middle"),
        (lambda data: data.rstrip(b"\0") + bytes(512), "without the end of a tar"),
        (lambda data: data[:1024] + b"x" + data[1025:], "is damaged after cat/0.png, at byte 1,024: bad checksum"),
        (lambda data: b"", "is not a readable tar or zip file"),
        (lambda data: b"Rar!" + data, "is packed by RAR, which is not read here: unpack it"),
        (lambda data: b"\x28\xb5\x2f\xfd" + data, "is packed by zstd"),
        (lambda data: gzip.compress(data) + b"junk", "is not a readable tar or zip file, it is damaged or cut"),
        (lambda data: bz2.compress(data) + b"junk", "is not a readable tar or zip file, it is damaged or cut"),
        (lambda data: lzma.compress(data)[:-30], "is not a readable tar or zip file, it is damaged or cut"),
    ],
)
def test_what_is_wrong_with_a_tar_is_said(tmp_path, damage, said):
    assert said in failure(tmp_path / "x.tar", damage(tarred(form=tarfile.GNU_FORMAT)))


def test_a_record_of_a_header_that_cannot_be_read_is_damage(tmp_path):
    """Python's reader leaves out the records behind it, and so a long name."""
    whole = tarred({"a/" + "x" * 200 + ".png": png(0)})
    assert "is damaged" in failure(tmp_path / "x.tar", whole.replace(b" path=", b" qath="))
    assert "is damaged" in failure(tmp_path / "x.tar", whole.replace(b"13 mtime=", b"12 mtime="))


def test_a_full_disk_is_no_damage(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    assert "set TMPDIR to a larger disk" in failure(tmp_path / "x.tar.gz", gzip.compress(tarred()))


def test_a_tar_that_changes_while_it_is_read_is_named(tmp_path):
    images = opened(tmp_path / "x.tar", tarred())
    images.read(0)
    (tmp_path / "x.tar").write_bytes(tarred(dict(reversed(FILES.items()))))
    with pytest.raises(OodgridError, match="has changed while it was read"):
        images.read(0)


# ---------------------------------------------------------------------------------------------------- odd members


@pytest.mark.parametrize("form", ["oldgnu", "0.0", "0.1", "1.0"])
def test_sparse_members_are_read(tmp_path, form):
    """Uncompressed pictures with one colour in most of them are stored so by `tar --sparse`."""
    if (
        not shutil.which("tar")
        or "GNU" not in subprocess.run(["tar", "--version"], capture_output=True, text=True).stdout
    ):
        pytest.skip("GNU tar makes them")
    (tmp_path / "a").mkdir()
    pixels = np.zeros((600, 600, 3), np.uint8)
    pixels[:4], pixels[300:304] = 7, 9
    Image.fromarray(pixels).save(tmp_path / "a" / "x.bmp")
    holes = (tmp_path / "a" / "x.bmp").read_bytes()
    with (tmp_path / "a" / "x.bmp").open("wb") as file:  # with real holes
        for start in range(0, len(holes), 4096):
            file.seek(start)
            if holes[start : start + 4096].strip(b"\0"):
                file.write(holes[start : start + 4096])
        file.truncate(len(holes))
    (tmp_path / "a" / "y.png").write_bytes(png(0))
    kind = ["--format=oldgnu"] if form == "oldgnu" else ["--format=pax", f"--sparse-version={form}"]
    subprocess.run(["tar", "--sparse", *kind, "-cf", "x.tar", "a"], cwd=tmp_path, check=True)
    assert (tmp_path / "x.tar").stat().st_size < len(holes) // 2
    assert bytes_of(opened(tmp_path / "x.tar")) == {"a/x.bmp": holes, "a/y.png": png(0)}


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_file_that_an_archive_holds_twice_is_refused(tmp_path, kind):
    made = io.BytesIO()
    if kind == "zip":
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(made, "w") as archive:
            for k in range(2):
                archive.writestr("a/x.png", png(k))
    else:
        with tarfile.open(fileobj=made, mode="w") as archive:
            for k in range(2):
                info = tarfile.TarInfo("a/x.png")
                info.size = len(png(k))
                archive.addfile(info, io.BytesIO(png(k)))
    assert "holds a/x.png twice" in failure(tmp_path / f"x.{kind}", made.getvalue())


@pytest.mark.parametrize("kind", ["tar", "zip", "wds"])
def test_a_member_that_is_too_large_is_refused_for_its_size(tmp_path, monkeypatch, kind):
    """A file of 4 GB is, and so is one that is nearly all hole."""
    monkeypatch.setattr(reading, "LARGEST", 1000)
    data = zipped({"a/x.bmp": bytes(1001)}) if kind == "zip" else tarred({"a/x.bmp": bytes(1001)})
    assert "a/x.bmp is too large for an image (1,001 bytes, more than 1,000)" in failure(tmp_path / f"x.{kind}", data)


def test_a_huge_file_with_holes_is_refused_for_its_size(tmp_path):
    (tmp_path / "a").mkdir()
    with (tmp_path / "a" / "x.png").open("wb") as file:
        file.truncate(2**33)
    images = open_split(Dataset(name="own", folder=str(tmp_path)), "test")
    with pytest.raises(OodgridError, match=r"x\.png is too large for an image \(8,589,934,592 bytes"):
        images.read(0)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a/y.png")
        info.size = 2**33
        archive.fileobj.write(info.tobuf())
        archive.fileobj.truncate(512 + 2**33 + 10240)
    # such a tar cannot be told from one that is filled up with zeros
    assert "x.tar: a/y.png is too large for an image" in failure(tmp_path / "x.tar")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.wds"])
def test_what_is_no_file_is_not_waited_for(tmp_path, make, name):
    make(tmp_path / name)
    assert "and no file: mend the path" in failure(tmp_path / name)
    for source in (
        {"numpy": {"images": str(tmp_path / name)}},
        {"idx": dict.fromkeys(("images", "labels"), str(tmp_path / name))},
    ):
        with pytest.raises(OodgridError, match="and no file: mend the path"):
            open_split(Dataset(name="own", **source), "test")


def test_headers_that_no_tool_would_write_are_damage(tmp_path):
    """Sizes below zero, beyond the file and beyond any; a map of holes that does not end."""
    for size in (b"\xff" * 10 + b"\xfe\0", b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7, b"77777777777\0"):
        for kind in b"0xLSg":
            header = bytearray(tarred({"a/x.png": b""}, tarfile.GNU_FORMAT)[:512])
            header[124:136], header[156], header[148:156] = size, kind, b" " * 8
            header[482] = kind == ord("S")  # the map of holes goes on in the next block
            header[148:156] = b"%06o\0 " % sum(header)
            whole = tarred({"b/y.png": png(0)}, tarfile.GNU_FORMAT)[:1024] + bytes(header)
            assert failure(tmp_path / "x.tar", whole)
            assert failure(tmp_path / "x.tar", bytes(header) + bytes(10240))


# ----------------------------------------------------------------------------------------------------------- zips


def edited(data, magic, offset, form, value):
    """A zip in which one field of the first record with this magic is changed."""
    data = bytearray(data)
    struct.pack_into(form, data, data.index(magic) + offset, value)
    return bytes(data)


ONE = zipped({"a/x.png": png(0)}, zipfile.ZIP_STORED)
DIRECTORY, END = b"PK\x01\x02", b"PK\x05\x06"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (ONE.replace(b"a/x.png", b"a\0x.png"), "goes on behind a NUL"),
        (ONE.replace(b"a/x.png", b"a/x.pnf", 1), "its directory and the header of a/x.png differ"),
        (edited(ONE, DIRECTORY, 8, "<H", 1), "a/x.png cannot be read: it is encrypted"),
        (edited(ONE, DIRECTORY, 10, "<H", 93), "packed by method 93, which is not read"),
        (edited(ONE, DIRECTORY, 16, "<I", 7), "do not have the size and checksum"),
        (edited(ONE, DIRECTORY, 24, "<I", 7), "do not have the size and checksum"),
        (edited(ONE, DIRECTORY, 24, "<I", 2**32 - 2), "is too large for an image (4,294,967,294 bytes"),
        (edited(ONE, END, 10, "<H", 2), "its directory is not complete"),
        (ONE[:-22] + zipped({}), "leaves out"),
        (edited(ONE, DIRECTORY, 38, "<I", 0o120777 << 16), "a/x.png cannot be read: it is a link"),
        (ONE[:-1], "it is cut or no zip at all"),
        (b"", "is not a readable tar or zip file"),
    ],
)
def test_what_is_wrong_with_a_zip_is_said(tmp_path, data, said):
    assert said in failure(tmp_path / ("x.zip" if data else "x"), data)


def test_names_with_backslashes_are_folders_as_any(tmp_path):
    files = {name.replace("/", "\\"): data for name, data in FILES.items()}
    for name, data in (("x.zip", zipped(files)), ("x.tar", tarred(files))):
        images = opened(tmp_path / name, data)
        assert bytes_of(images) == FILES
        assert images.classnames == ["cat", "doe", "été"]


def test_names_in_a_zip_that_does_not_say_how_they_are_written(tmp_path):
    """Tools of Linux write UTF-8, and the format's own code page holds for the rest."""
    made = zipped({"xx/0.png": png(0), "b/1.png": png(1)})
    for raw, name in (("é".encode(), "é"), (b"\x82\x82", "éé")):
        assert opened(tmp_path / "x.zip", made.replace(b"xx", raw)).classnames == ["b", name]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_member_is_unpacked_beyond_its_size(tmp_path, method):
    import tracemalloc

    data = edited(zipped({"a/x.png": bytes(2**25)}, method), DIRECTORY, 24, "<I", 100)
    images = opened(tmp_path / "x.zip", data)
    tracemalloc.start()
    with pytest.raises(OodgridError, match="do not have the size"):
        images.read(0)
    assert tracemalloc.get_traced_memory()[1] < 2**24  # of which LZMA needs 8 MB for what it has seen
    tracemalloc.stop()


def test_an_archive_is_what_its_first_bytes_say(tmp_path):
    """A tar may end with a zip in it, and a zip may lie behind the program that unpacks it."""
    inner = {"a/x.png": png(0), "b/y.png": png(1), "b/inner.zip": ONE}
    assert len(opened(tmp_path / "x.tar", tarred(inner))) == 2
    assert len(opened(tmp_path / "x.zip", zipped(inner, zipfile.ZIP_STORED))) == 2
    assert len(opened(tmp_path / "tar.zip", tarred(inner))) == 2
    assert bytes_of(opened(tmp_path / "x.exe", b"MZ" + bytes(5000) + zipped())) == FILES
    whole = zipped(inner, zipfile.ZIP_STORED)
    assert "leaves out" in failure(tmp_path / "x.zip", whole[: whole.rindex(ONE) + len(ONE)])


def test_packed_files_in_an_archive_are_said(tmp_path):
    for inner in ("n01440764.tar", "cat/0.png.gz", "more.zip"):
        files = {inner: zlib.compress(b"x")}
        assert f"holds no image, but packed files lie in it, 1 as {inner}" in failure(tmp_path / "x.tar", tarred(files))
        images = opened(tmp_path / "x.tar", tarred({**FILES, inner: b"x"}))
        assert any(inner in remark for remark in images.remarks)


def test_the_cases_that_were_reported(shared):
    cases = shared / "cases"
    if not cases.is_dir():
        pytest.skip("../shared/cases is not here")
    assert opened(cases / "zip-backslash" / "win.zip").classnames == ["blue square", "red circle"]
    assert "ends in the middle, after 0003.png" in failure(cases / "tars" / "cut.tar")
    for name in ("train.tar", "gz-inside.tar"):
        assert "unpack them" in failure(cases / "nested-tar" / name)
