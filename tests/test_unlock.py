from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from oodgrid import unlock
from oodgrid.errors import OodgridError
from oodgrid.unlock import record, remove_stale_lock


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


def test_a_run_that_meets_a_lock_names_the_command_that_removes_it_only_where_that_would(locked):
    assert "`oodgrid unlock` removes it" in unlock.notice(locked)
    record(locked)
    said = unlock.notice(locked)
    assert f"process {os.getpid()}" in said and "wait for it" in said and "oodgrid unlock" not in said
    shutil.rmtree(locked / ".snakemake" / "locks")
    assert unlock.notice(locked) is None


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


COMMANDS = [
    ["-u", "-X", "utf8", "-m", "snakemake"],
    ["-c", "from snakemake.cli import main; main()"],
    ["{script}", "-n"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=["module", "code", "script"])
def test_a_snakemake_is_known_however_it_was_started(command):
    given = ["/usr/bin/python3.11", *(word.format(script="/opt/bin/snakemake") for word in command)]
    assert unlock._is_snakemake("python3.11", given)
    assert not unlock._is_snakemake("grep", ["/usr/bin/grep", "-r", *given[1:]])


# ------------------------------------------------------------------------- what cannot be read counts as living


def lock_stays(locked, because):
    with pytest.raises(OodgridError, match=because) as caught:
        remove_stale_lock(locked)
    assert "\n" not in str(caught.value)
    assert "snakemake --unlock" in str(caught.value)
    assert (locked / ".snakemake" / "locks" / "0.input.lock").exists()


def recorded(locked, **changes):
    """The record of a run of this machine that has ended, with changes."""
    record(locked)
    (file,) = (locked / ".snakemake" / "locks").glob("owner-*.json")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file.write_text(json.dumps({**json.loads(file.read_text()), "pid": ended.pid, **changes}))
    return file


def test_the_lock_of_a_recorded_run_that_ended_is_removed(locked):
    recorded(locked)
    remove_stale_lock(locked)
    assert not (locked / ".snakemake" / "locks").exists()


def test_the_lock_of_a_recorded_run_that_lives_stays(locked):
    """Whatever its process is called, and wherever it works."""
    record(locked)
    lock_stays(locked, f"process {os.getpid()}\\) still runs")


def test_a_process_that_took_the_number_of_a_dead_one_is_another(locked):
    recorded(locked, pid=os.getpid(), began=7)
    remove_stale_lock(locked)
    assert not (locked / ".snakemake" / "locks").exists()


def test_a_killed_process_that_nobody_looked_after_is_dead(locked):
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    recorded(locked, pid=killed.pid, began=unlock._began(killed.pid))
    lock_stays(locked, "still runs")
    killed.kill()
    while unlock._began(killed.pid):
        pass
    remove_stale_lock(locked)
    killed.communicate()


def test_after_a_restart_of_the_machine_nobody_lives(locked, monkeypatch):
    monkeypatch.setattr(unlock, "_machine", lambda: ["m", None])
    recorded(locked, pid=1, boot="an earlier one", namespace="pid:[1]", machine=["m", "0242ac110002"])
    remove_stale_lock(locked)
    assert not (locked / ".snakemake" / "locks").exists()


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"host": "node-7", "machine": ["x", "y"], "boot": "b"}, "on node-7 .* may still run there"),
        ({"host": "node-7", "boot": "b"}, "on node-7 .* may still run there"),
        ({"machine": ["another of that name", "y"], "boot": "b"}, "may still run there"),
        ({"machine": [None, None], "boot": "b"}, "may still run there"),
        ({"machine": [None, None], "boot": None}, "may still run there"),
        ({"namespace": "pid:[1]"}, "runs in another container"),
        ({"namespace": None}, "runs in another container"),
        ({"pid": 10**30}, "cannot be read in .*owner-"),
        ({"pid": "?"}, "cannot be read in .*owner-"),
        ({"began": None, "pid": os.getpid()}, "still runs"),
    ],
)
def test_who_cannot_be_seen_from_here_may_live(locked, changes, because):
    recorded(locked, **changes)
    lock_stays(locked, because)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": 1}', "[" * 10**5, "\0"])
def test_a_record_that_cannot_be_read_counts_as_living(locked, text):
    recorded(locked).write_text(text)
    lock_stays(locked, "whose lock it is cannot be read in")


def test_of_several_records_one_that_lives_is_enough(locked):
    recorded(locked).rename(locked / ".snakemake" / "locks" / "owner-1.json")
    record(locked)
    lock_stays(locked, f"process {os.getpid()}")


class Process:
    """A process as psutil shows it to somebody who may not look."""

    def __init__(self, name, command, cwd=None):
        self.info = {"name": name, "cmdline": command, "status": "sleeping"}
        self.pid, self.where = 4_000_000, cwd

    def cwd(self):
        import psutil

        if self.where is None:
            raise psutil.AccessDenied(self.pid)
        return self.where


@pytest.mark.parametrize(
    ("name", "command", "stays"),
    [
        ("snakemake", ["/usr/bin/python3", "/usr/bin/snakemake"], True),  # another user's: its folder is not shown
        ("python3", None, True),
        (None, None, True),
        ("sshd", None, False),
        ("bash", ["bash"], False),
        ("kthreadd", [], False),
    ],
)
def test_processes_of_other_users(locked, monkeypatch, name, command, stays):
    import psutil

    monkeypatch.setattr(psutil, "process_iter", lambda fields: iter([Process(name, command)]))
    if stays:
        lock_stays(locked, "snakemake may still run there \\(process 4000000\\)")
    else:
        remove_stale_lock(locked)


def test_where_processes_are_hidden_a_lock_stays(locked, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "pid_exists", lambda pid: pid != 1)  # /proc mounted with hidepid
    lock_stays(locked, "processes of other users are hidden")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_a_lock_of_nobody_on_a_shared_folder_stays(locked, monkeypatch, kind):
    import psutil

    part = type("Part", (), {"mountpoint": str(locked), "fstype": kind})
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [part])
    lock_stays(locked, f"nobody wrote down whose lock it is, and {kind} shares the folder")
    recorded(locked)
    remove_stale_lock(locked)


def test_a_lock_that_may_not_be_removed_is_one_line(locked, monkeypatch):
    def refuses(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuses)
    lock_stays(locked, "cannot be read or removed \\(Permission denied\\)")


def test_the_command_works_in_the_current_folder(locked, monkeypatch):
    from oodgrid.cli import main

    monkeypatch.chdir(locked)
    before = dict(os.environ)
    assert main(["unlock"]) == 0
    os.environ.update(before)
    assert not (locked / ".snakemake" / "locks").exists()
