"""Downloads from a server on this machine that breaks off, knows no ranges, changes files, or gives wrong ones."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import shutil
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from oodgrid import cli
from oodgrid.catalogue import real
from oodgrid.catalogue.real import Download, RealSet
from oodgrid.encode.real import download as downloads
from oodgrid.encode.real import fetching, find
from oodgrid.encode.real.download import fetch_file
from oodgrid.encode.real.fetching import fetch, unpack
from oodgrid.errors import OodgridError

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes
MD5 = hashlib.md5(CONTENT).hexdigest()
BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """A server whose files are in `files`, and whose behaviour is in `manners`."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"file.bin": CONTENT}
        self.manners = {"ranges": True, "most": None, "etag": '"one"', "length": True, "refusals": []}
        self.asked: list[tuple[str, str]] = []

    def url(self, name="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, manners = self.server, self.server.manners
        asked = self.headers.get("Range", "")
        server.asked.append((self.path, asked))
        if manners.get("alternating"):  # longer, shorter, longer, …
            manners["most"] = 1000 + 1000 * (len(server.asked) % 2)
        if manners["refusals"]:
            self.send_error(manners["refusals"].pop(0))
            return
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and manners["ranges"] else 0
        if start and self.headers.get("If-Range", manners["etag"]) != manners["etag"]:
            start = 0
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(content, start + manners.get("lie", 0) * bool(start))

    def _send(self, content, start):
        manners = self.server.manners
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if manners["length"]:
            self.send_header("Content-Length", str(len(content) - start))
        if manners["etag"]:
            self.send_header("ETag", manners["etag"])
        self.end_headers()
        self.wfile.write(content[start:] if manners["most"] is None else content[start : start + manners["most"]])
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetched(server, folder, name="file.bin", **checks):
    return fetch_file(Download(url=server.url(name), **(checks or {"md5": MD5})), folder, wait=lambda _: None)


@pytest.mark.parametrize("check", [{"md5": MD5}, {"git_blob": BLOB}, {"bytes": len(CONTENT)}, {"to": "x"}])
@pytest.mark.parametrize(
    "manners",
    [
        {},
        {"most": 100_000},  # breaks off again and again, each time with something more
        {"ranges": False},
        {"etag": ""},
        {"etag": "", "most": 100_000},
        {"etag": 'W/"weak"', "most": 100_000},
        {"refusals": [503, 429]},
    ],
)
def test_a_file_arrives_whole_over_bad_connections(server, tmp_path, manners, check):
    server.manners |= {**manners, "refusals": list(manners.get("refusals", []))}
    file = fetched(server, tmp_path, **check)
    assert file.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]
    if "most" in manners:
        assert [asked for _, asked in server.asked][1:] == ["bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_a_file_that_has_moved_is_followed_and_gone_on_with(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    fetched(server, tmp_path, "moved/file.bin")
    assert server.asked == [("/moved/file.bin", "bytes=1000-"), ("/file.bin", "bytes=1000-")]


def test_a_file_that_is_there_is_not_asked_for(server, tmp_path):
    fetched(server, tmp_path)
    server.asked.clear()
    fetched(server, tmp_path)
    assert not server.asked


def test_a_run_that_was_broken_off_goes_on_in_another(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:123_456])
    (tmp_path / "file.bin.part.version").write_text('"one"')
    fetched(server, tmp_path)
    assert server.asked == [("/file.bin", "bytes=123456-")]


def test_a_file_that_was_whole_but_not_renamed_is_taken(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetched(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"two"', ""])
def test_halves_of_two_versions_are_never_joined(server, tmp_path, etag):
    """With a version the server says that it changed; without, the checksum does, and the file is fetched anew."""
    server.manners["etag"] = etag
    (tmp_path / "file.bin.part").write_bytes(b"x" * 100_000)
    (tmp_path / "file.bin.part.version").write_text('"one"' if etag else "")
    assert fetched(server, tmp_path).read_bytes() == CONTENT
    assert server.asked[0] == ("/file.bin", "bytes=100000-")


def test_a_longer_part_than_the_file_is_begun_anew(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetched(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_another_range_is_not_believed(server, tmp_path):
    server.manners["lie"] = 5
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    assert fetched(server, tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_that_breaks_off_is_given_up_and_says_what_is_kept(server, tmp_path):
    server.manners |= {"ranges": False, "most": 1000}
    with pytest.raises(OodgridError, match=r"broke off at 1,000 of 307,200 bytes \(5 attempts\); 1,000 bytes are kept"):
        fetched(server, tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_a_server_that_never_comes_further_is_given_up(server, tmp_path):
    """Each second transfer is longer than the one before, and none brings more than was there once."""
    server.manners |= {"ranges": False, "alternating": True}
    with pytest.raises(OodgridError, match=r"\(5 attempts\)"):
        fetched(server, tmp_path)
    assert len(server.asked) < 10


@pytest.mark.parametrize("name", ["file.bin.part", "file.bin.part.version"])
def test_a_part_that_cannot_be_written_here_is_no_broken_transfer(server, tmp_path, name):
    """A folder stands for a file without permission, which does not keep root from writing."""
    (tmp_path / "file.bin.part").write_bytes(b"")
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises(OodgridError, match=f"{name}: Is a directory: mend that, and run again"):
        fetched(server, tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"md5": "0" * 32}, f"has the MD5 {MD5} in place of 000"),
        ({"git_blob": "0" * 40}, f"is the git object {BLOB} in place of 000"),
        ({"bytes": 5}, "has 307,200 bytes in place of 5"),
    ],
)
def test_a_wrong_file_is_removed_and_said(server, tmp_path, check, message):
    with pytest.raises(OodgridError, match=message):
        fetched(server, tmp_path, **check)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file.bin").write_bytes(CONTENT)
    with pytest.raises(OodgridError, match=f"is there and {message}.*remove it"):
        fetched(server, tmp_path, **check)


def test_a_file_without_length_that_breaks_off_fails_its_checksum(server, tmp_path):
    server.manners |= {"length": False, "most": 1000}
    with pytest.raises(OodgridError, match="has the MD5"):
        fetched(server, tmp_path)


@pytest.mark.parametrize(
    ("manners", "name", "message"),
    [
        ({}, "gone.bin", "404 Not Found: the file may have moved"),
        ({"refusals": [403]}, "file.bin", "403 Forbidden"),
        ({"refusals": [503] * 9}, "file.bin", r"503 Service Unavailable \(5 attempts\)"),
    ],
)
def test_what_a_server_refuses_is_one_line(server, tmp_path, manners, name, message):
    server.manners |= manners
    with pytest.raises(OodgridError, match=message):
        fetched(server, tmp_path, name)


def test_nobody_at_the_other_end_is_one_line(server, tmp_path):
    url = server.url()
    server.shutdown()
    server.server_close()
    with pytest.raises(OodgridError, match=r"broke off .*refused.* \(5 attempts\); 0 bytes are kept"):
        fetch_file(Download(url=url, md5=MD5), tmp_path, wait=lambda _: None)


def test_a_folder_that_is_read_only_is_said_before_the_server_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(OodgridError, match="is read-only to you: take another root"):
        fetched(server, tmp_path)
    assert not server.asked


def test_too_little_room_is_said_before_anything_is_written(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 900, 100))
    with pytest.raises(OodgridError, match="307,200 bytes are to come and 100 are free"):
        fetched(server, tmp_path)
    assert not (tmp_path / "file.bin.part").exists()


def test_a_disk_that_fills_up_keeps_what_is_there(server, tmp_path, monkeypatch):
    """The limit on a file's size stands for the disk: the system refuses the write in the same way."""
    monkeypatch.setattr(downloads, "PIECE", 4096)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(OodgridError, match=r"free space, and run again; .* bytes are kept"):
            fetched(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept = (tmp_path / "file.bin.part").stat().st_size
    assert 0 < kept <= 200_000
    assert fetched(server, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/file.bin", f"bytes={kept}-")


# ----------------------------------------------------------------------------------------------- whole datasets


def archive_of(names, suffix):
    buffer = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(buffer, "w") as made:
            for name in names:
                made.writestr(name, b"image")
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz" if suffix == ".tar.gz" else "w") as made:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 5
                made.addfile(info, io.BytesIO(b"image"))
    return buffer.getvalue()


@pytest.fixture
def catalogued(server, monkeypatch):
    """A dataset of two images whose archive lies on the server."""

    def make(suffix=".tar", names=("birds/1.jpg", "birds/2.jpg"), **changes):
        content = archive_of(names, suffix)
        server.files[f"birds{suffix}"] = content
        entry = {
            "title": "Birds", "paper": "nobody", "home": "nowhere", "use": "ood", "licence": "none", "traps": ["none"],
            "splits": {"test": 2},
            "fetch": [{"url": server.url(f"birds{suffix}"), "md5": hashlib.md5(content).hexdigest(), "unpack": True}],
            "layouts": [{"name": "birds", "reader": "tree", "at": ["birds"], "splits": {"test": ""}}],
        }  # fmt: skip
        made = RealSet.model_validate({**entry, **changes})
        monkeypatch.setattr(real, "names", lambda: ("birds",))
        monkeypatch.setattr(real, "real_set", lambda name: made)
        real.layouts.cache_clear()
        real.class_keys.cache_clear()

    yield make
    real.layouts.cache_clear()
    real.class_keys.cache_clear()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_a_dataset_is_fetched_unpacked_and_whole(catalogued, server, tmp_path, capsys, suffix):
    catalogued(suffix)
    assert cli.main(["datasets", "--root", str(tmp_path)]) == 0
    assert "oodgrid fetch birds --root" in capsys.readouterr().out
    assert cli.main(["fetch", "birds", "--root", str(tmp_path)]) == 0
    assert f"birds: whole in {tmp_path / 'birds'}" in capsys.readouterr().out
    assert not (tmp_path / f"birds{suffix}").exists()
    asked = len(server.asked)
    assert cli.main(["fetch", "birds", "--root", str(tmp_path)]) == 0
    assert "nothing to fetch" in capsys.readouterr().out
    assert len(server.asked) == asked
    assert cli.main(["datasets", "--root", str(tmp_path)]) == 0
    assert "whole" in capsys.readouterr().out


def test_a_dataset_that_is_not_whole_after_all_is_an_error(catalogued, tmp_path, capsys):
    catalogued(names=("birds/1.jpg",))
    assert cli.main(["fetch", "birds", "--root", str(tmp_path), "--keep-archives"]) != 0
    assert "has 1 of 2 samples" in capsys.readouterr().err
    assert (tmp_path / "birds.tar").exists()


def test_what_is_there_is_not_fetched_again(catalogued, server, tmp_path, capsys):
    catalogued()
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds/1.jpg").write_bytes(b"image")
    entry = real.real_set("birds")
    gives = [entry.fetch[0].model_copy(update={"gives": ["birds"]})]
    catalogued(fetch=gives)
    lines = []
    assert fetch("birds", tmp_path, say=lines.append).state == "in part"
    assert "is there: birds.tar is not fetched" in lines[0]
    assert not server.asked


GIVEN = [(name, folder) for name in real.names() for download in real.real_set(name).fetch for folder in download.gives]
GIVEN += [
    (name, f"{at}/{images}")
    for name in real.names()
    for layout in real.layouts(name)
    if layout.reader == "coop" and not real.real_set(name).get
    for at in filter(None, layout.at)
    for images in filter(None, layout.images)
]


@pytest.mark.parametrize(("name", "folder"), GIVEN, ids=[f"{name}, {folder}" for name, folder in GIVEN])
def test_what_another_set_left_there_is_read_once_the_other_files_are_fetched(tmp_path, monkeypatch, name, folder):
    """dtd and dtd-official unpack one archive in two places, and need not read each other's."""

    def fetch_one(download, place, keep, say):
        assert not download.unpack, f"{download.url} would be fetched again"
        place.mkdir(parents=True, exist_ok=True)
        (place / download.file).write_bytes(b"{}")

    monkeypatch.setattr(fetching, "_fetch_one", fetch_one)
    (tmp_path / folder / "some").mkdir(parents=True)
    (tmp_path / folder / "some/1.jpg").write_bytes(b"image")
    fetch(name, tmp_path, say=lambda line: None)
    location = find(name, tmp_path)
    images = [location.path("test"), *(location.base / images for images in location.layout.images if images)]
    images += [location.base / need for need in location.layout.needs]
    assert any(each.is_dir() and each.samefile(tmp_path / folder) for each in images)


def test_a_dataset_that_comes_by_hand_says_how(tmp_path):
    with pytest.raises(OodgridError, match=r"comes by hand: register at https://image-net\.org"):
        fetch("imagenet", tmp_path)


def test_names_and_folders_that_are_not_there_are_one_line(tmp_path, capsys):
    assert cli.main(["datasets", "dtd", "sun", "--config", str(tmp_path / "some.yaml")]) != 0
    assert "--config names the datasets: take out dtd sun, or take out --config" in capsys.readouterr().err
    assert cli.main(["fetch", "imagnet", "--root", str(tmp_path)]) != 0
    assert "did you mean 'imagenet'" in capsys.readouterr().err
    assert cli.main(["datasets", "--root", str(tmp_path / "nowhere")]) != 0
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
@pytest.mark.parametrize("name", ["../out.jpg", "in/../../out.jpg", "{outside}/out.jpg"])
def test_an_archive_writes_nothing_outside_its_folder(tmp_path, name, suffix):
    """Paths of a tar file that climb out are refused; what else leads out loses what leads there, and stays inside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = outside / "in"
    (tmp_path / f"bad{suffix}").write_bytes(archive_of([name.format(outside=outside)], suffix))
    if suffix != ".zip" and ".." in name:
        with pytest.raises(OodgridError, match="leads out of"):
            unpack(tmp_path / f"bad{suffix}", folder)
    else:
        unpack(tmp_path / f"bad{suffix}", folder)
        assert [path.name for path in folder.rglob("*.jpg")] == ["out.jpg"]
    assert [path for path in tmp_path.rglob("*.jpg") if folder not in path.parents] == []


@pytest.mark.parametrize("target", ["{outside}", "../../outside"])
def test_a_link_of_an_archive_leads_nowhere(tmp_path, target):
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(tmp_path / "bad.tar", "w") as made:
        link = tarfile.TarInfo("a/link")
        link.type, link.linkname = tarfile.SYMTYPE, target.format(outside=outside)
        made.addfile(link)
        through = tarfile.TarInfo("a/link/out.jpg")
        through.size = 5
        made.addfile(through, io.BytesIO(b"image"))
    with pytest.raises(OodgridError, match="leads out of"):
        unpack(tmp_path / "bad.tar", tmp_path / "in")
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_a_broken_archive_is_one_line(tmp_path, suffix):
    file = tmp_path / f"bad{suffix}"
    whole = archive_of([f"{n}.jpg" for n in range(50)], suffix)
    file.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(OodgridError, match=r"remove it, and run again|its end is missing"):
        unpack(file, tmp_path / "in")


def flipped(content, start, stop, step):
    return bytes(
        byte ^ 0x5A if start <= place < stop and place % step == 0 else byte for place, byte in enumerate(content)
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_within_a_zip_is_one_line(tmp_path, method):
    """Of every method, at every place of the stream: each decompressor fails in its own way."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        made.writestr("1.jpg", hashlib.shake_256(b"image").digest(3000) + bytes(3000))
        end = made.start_dir if hasattr(made, "start_dir") else 0
    failed = 0
    for step in (1, 7, 50):
        for start in range(35, end, max(end // 12, 1)):
            (tmp_path / "bad.zip").write_bytes(flipped(buffer.getvalue(), start, end, step))
            try:
                unpack(tmp_path / "bad.zip", tmp_path / "in")
            except OodgridError as error:
                failed += 1
                assert "remove it, and run again" in str(error)
                assert "\n" not in str(error)
    assert failed > 20


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_damage_within_a_compressed_tar_is_one_line(tmp_path, mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{mode}") as made:
        info = tarfile.TarInfo("1.jpg")
        info.size = 30_000
        made.addfile(info, io.BytesIO(hashlib.shake_256(b"image").digest(30_000)))
    content = buffer.getvalue()
    for start in range(0, len(content), len(content) // 15):
        (tmp_path / f"bad.tar.{mode}").write_bytes(flipped(content, start, start + 2000, 3))
        with pytest.raises(OodgridError, match="remove it, and run again"):
            unpack(tmp_path / f"bad.tar.{mode}", tmp_path / "in")


@pytest.mark.parametrize(("at", "value"), [(8, 77), (6, 1)])
def test_a_zip_that_cannot_be_opened_here_is_one_line(tmp_path, at, value):
    """A method of compression that nobody has, and a password."""
    content = bytearray(archive_of(["1.jpg"], ".zip"))
    directory = content.index(b"PK\x01\x02")
    content[at] = content[directory + at + 2] = value
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(OodgridError, match="remove it, and run again"):
        unpack(tmp_path / "bad.zip", tmp_path / "in")


@pytest.mark.parametrize("keep", [False, True])
def test_an_archive_within_another_is_unpacked_and_removed_with_it(catalogued, server, tmp_path, keep):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("birds/inner.tar.gz", archive_of(["birds/1.jpg", "birds/2.jpg"], ".tar.gz"))
    server.files["outer.zip"] = buffer.getvalue()
    outer = {"url": server.url("outer.zip"), "unpack": True, "inner": "birds/inner.tar.gz"}
    places = [{"name": "birds", "reader": "tree", "at": ["birds/birds"], "splits": {"test": ""}}]
    catalogued(fetch=[outer], layouts=places)
    assert fetch("birds", tmp_path, keep, say=lambda line: None).is_whole
    assert (tmp_path / "birds/inner.tar.gz").exists() == (tmp_path / "outer.zip").exists() == keep
    catalogued(fetch=[{**outer, "inner": "birds/other.tar"}], layouts=places)
    with pytest.raises(OodgridError, match=r"holds no birds/other\.tar"):
        fetch("birds", tmp_path / "again", say=lambda line: None)
