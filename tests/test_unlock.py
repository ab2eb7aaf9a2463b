from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from oodgrid.errors import OodgridError
from oodgrid.unlock import remove_stale_lock


@pytest.fixture
def locked(tmp_path):
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    (tmp_path / ".snakemake" / "log").mkdir()
    return tmp_path


@pytest.fixture
def process(tmp_path):
    """Start a harmless process under any name in any folder; it ends with the test."""
    started = []

    def start(arguments, cwd):
        started.append(subprocess.Popen(arguments, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        started[-1].stdout.read(1)  # it runs
        return started[-1].pid

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def snakemake(tmp_path):
    """A script of that name that only waits."""
    script = tmp_path / "bin" / "snakemake"
    script.parent.mkdir()
    script.write_text("import sys\nsys.stdout.write('.')\nsys.stdout.flush()\nsys.stdin.read()\n")
    return script


def test_a_stale_lock_is_removed(locked):
    remove_stale_lock(locked)
    assert not (locked / ".snakemake" / "locks").exists()
    assert (locked / ".snakemake" / "log").exists()


def test_no_lock_is_no_mistake(tmp_path):
    remove_stale_lock(tmp_path)
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    remove_stale_lock(tmp_path)


def test_a_lock_in_use_stays(locked, process, snakemake):
    pid = process([sys.executable, str(snakemake), "--cores", "8"], locked)
    with pytest.raises(OodgridError, match=str(pid)):
        remove_stale_lock(locked)
    assert (locked / ".snakemake" / "locks" / "0.input.lock").exists()


def test_a_snakemake_elsewhere_does_not_matter(locked, process, snakemake, tmp_path):
    process([sys.executable, str(snakemake)], tmp_path / "bin")
    remove_stale_lock(locked)
    assert not (locked / ".snakemake" / "locks").exists()


def test_reading_a_log_of_snakemake_is_not_running_it(locked, process):
    log = locked / "2026-01-01.snakemake.log"
    log.write_text("x")
    process([shutil.which("tail"), "-f", str(log)], locked)
    remove_stale_lock(locked)
    assert not (locked / ".snakemake" / "locks").exists()


def test_the_command_works_in_the_current_folder(locked, monkeypatch):
    from oodgrid.cli import main

    monkeypatch.chdir(locked)
    before = dict(os.environ)
    assert main(["unlock"]) == 0
    os.environ.update(before)
    assert not (locked / ".snakemake" / "locks").exists()
