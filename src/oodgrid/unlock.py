"""Removing the lock that a killed Snakemake leaves, only where it is certain that none works in the folder.

A run records beside its lock which process holds it (`record`): machine, process and start time. A process that cannot
be seen from here counts as living: on another machine of a shared folder, in another container, of another user.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from oodgrid import paths
from oodgrid.errors import OodgridError
from oodgrid.services import without

NETWORK = ("nfs", "cifs", "smb", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "gluster", "ocfs", "pvfs", "orangefs",
           "panfs", "wekafs", "virtiofs", "vboxsf", "prl_fs", "fuse")  # fmt: skip
_held: list[BinaryIO] = []  # locks end with the process, however it ends
BY_HAND = "if none runs any more, `snakemake --unlock` removes the lock"


def record(folder: Path) -> None:
    """Write down beside the lock of a folder that this process holds it; the lock goes, and the record with it."""
    locks = _locks(folder)
    with suppress(OSError):  # without a record more counts as living
        locks.mkdir(parents=True, exist_ok=True)
        (locks / f"owner-{os.getpid()}.json").write_text(json.dumps(_me()), encoding="utf-8")


def hold(results: Path, experiment: str) -> None:
    """Let no second run compute an experiment while this process lives: its jobs would delete outputs of the first.

    Snakemake's own lock is not enough, for a run that ends removes the locks of all that run in its folder.

    Raises:
        OodgridError: Another process holds it, or removes what is kept.
    """
    reason = f"oodgrid kept gc is going on in {results}: wait for it"
    _held.append(_locked(paths.all_running(results), reason, shared=True))
    reason = f"another run of experiment {experiment} is going on here: wait for it, or give this one another name "
    _held.append(_locked(paths.running(results, experiment), f"{reason}under experiment:"))


@contextmanager
def alone(results: Path) -> Iterator[None]:
    """Keep all runs out of a results folder meanwhile.

    Raises:
        OodgridError: A run does.
    """
    with ExitStack() as locks:
        for path in [paths.all_running(results), *sorted(results.glob(f"*/{paths.CONFIGS}/.running"))]:
            who = "a run" if path.parent == results else f"a run of experiment {path.parents[1].name}"
            locks.enter_context(_locked(path, f"{who} is going on in {results}: wait for it, or stop it"))
        yield


def _locked(path: Path, reason: str, *, shared: bool = False) -> BinaryIO:
    """Return a file that is locked until it is closed.

    Raises:
        OodgridError: Another process has locked it, or it cannot be opened.
    """
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open(path)
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        without("locks", path.parent, lambda: fcntl.flock(file, kind | fcntl.LOCK_NB))
    except BlockingIOError:
        raise OodgridError(reason) from None
    except OSError as error:
        raise OodgridError(f"{path} cannot be locked: {error.strerror}: give yourself the right to read it") from error
    return file


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("ab")
    except PermissionError:  # it is another user's, and a lock needs no more than to read it
        return path.open("rb")


def remove_stale_lock(folder: Path) -> None:
    """Remove `.snakemake/locks` of a folder, if it is certain that no Snakemake works there.

    Raises:
        OodgridError: One does, or may.
    """
    locks = _locks(folder)
    try:
        if not _is_locked(locks):
            return
        if living := _living(folder):
            raise OodgridError(f"{folder} is locked: {living}: wait for it, or stop it; {BY_HAND}")
        shutil.rmtree(locks)
    except OSError as error:
        why = f"{error.filename or locks} cannot be read or removed ({error.strerror})"
        raise OodgridError(f"{why}: {BY_HAND}") from error


def notice(folder: Path) -> str | None:
    """Return a line on the lock of a folder, if there is one: Snakemake, which stopped at it, only names --unlock."""
    with suppress(OSError):
        if not _is_locked(_locks(folder)):
            return None
        if living := _living(folder):
            return f"{living} in this folder, and makes files of this run too: wait for it, or stop it; {BY_HAND}"
        return "a snakemake that was killed here left its lock: `oodgrid unlock` removes it, then start again"
    return None


def _is_locked(locks: Path) -> bool:
    return locks.exists() and any(locks.iterdir())


def _living(folder: Path) -> str | None:
    """Return who holds the lock of a folder, or may; None where it is certain that nobody does."""
    owners = sorted(_locks(folder).glob("owner-*.json"))
    living = next((why for why in map(_why_living, owners) if why), None)
    if not owners and (kind := _network(folder)):
        living = f"nobody wrote down whose lock it is, and {kind} shares the folder with other machines"
    return living or next(_running_in(folder), None)


def _locks(folder: Path) -> Path:
    return folder / ".snakemake" / "locks"


def _me() -> dict[str, Any]:
    """Return what identifies this process among all, on every machine."""
    return {
        "host": platform.node(),
        "machine": _machine(),
        "boot": _boot(),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "began": _began(os.getpid()),
        "user": _user(),
    }


def _why_living(file: Path) -> str | None:
    """Return why the process of a record may still run; None if it certainly does not."""
    import psutil

    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
        who = f"snakemake of {owner['user']} on {owner['host']} (process {owner['pid']})"
        pid, began, boot, namespace = (owner[name] for name in ("pid", "began", "boot", "namespace"))
        same_machine = owner["host"] == platform.node() and _agree(owner["machine"], _machine())
        pid_exists = psutil.pid_exists(int(pid))
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return f"whose lock it is cannot be read in {file}"
    same_boot = boot is not None and boot == _boot()  # that is one machine, whatever its names are
    if not same_boot and not same_machine:
        return f"{who} may still run there"
    if not same_boot and None not in (boot, _boot()):
        return None  # the machine was started anew since
    if namespace != _namespace():
        return f"{who} runs in another container, which cannot be seen from here"
    ended = not pid_exists or (began is not None and _began(pid) not in (None, began))
    return None if ended else f"{who} still runs"


def _agree(one: list[str | None], other: list[str | None]) -> bool:
    """Return whether two descriptions may be of one machine."""
    both = [(a, b) for a, b in zip(one, other, strict=True) if a and b]
    return bool(both) and all(a == b for a, b in both)


def _running_in(folder: Path) -> Iterator[str]:
    """Yield the Snakemake processes of this machine that work in a folder, or may: what cannot be read counts."""
    import psutil

    if os.name == "posix" and not psutil.pid_exists(1):
        yield "the processes of other users are hidden on this machine, and a snakemake may be among them"
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter(["name", "cmdline", "status"]):
        if process.pid in mine or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        if _is_snakemake(process.info["name"], process.info["cmdline"]) and _works_in(process, folder):
            yield f"snakemake may still run there (process {process.pid})"


def _is_snakemake(name: str | None, command: list[str] | None) -> bool:
    """Return whether a process is a Snakemake; where its command line cannot be read, whether it may be one."""
    if command is None:
        return name is None or name.lower().startswith(("python", "pypy", "snakemake"))
    program = Path(command[0]).name.lower() if command else ""
    if not program.startswith(("python", "pypy", "snakemake")):
        return False
    code = command[command.index("-c") + 1 :][:1] if "-c" in command else []
    return any(Path(word).name == "snakemake" for word in command) or any("snakemake" in text for text in code)


def _works_in(process: Any, folder: Path) -> bool:
    import psutil

    try:
        return Path(process.cwd() or "/").samefile(folder)
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return True


def _machine() -> list[str | None]:
    """Return what identifies this machine across restarts, in parts; None for an unknown part."""
    address = uuid.getnode()  # of a network card; where there is none, a random one with this bit
    return [_read("/etc/machine-id"), None if address >> 40 & 1 else f"{address:012x}"]


def _boot() -> str | None:
    return _read("/proc/sys/kernel/random/boot_id")


def _began(pid: int) -> int | None:
    """Return when a process began, in ticks since the machine did, which no change of the clock moves; 0 if it ended.

    A process that was killed may stay in the list until its parent looks.
    """
    text = _read(f"/proc/{pid}/stat")
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def _namespace() -> str | None:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return None


def _user() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return f"user {os.getuid()}"


def _read(file: str) -> str | None:
    with suppress(OSError):
        return Path(file).read_text(encoding="utf-8").strip() or None
    return None


def _network(folder: Path) -> str | None:
    """Return the kind of the file system of a folder if other machines may see it too."""
    import psutil

    resolved = folder.resolve()
    places = [part for part in psutil.disk_partitions(all=True) if resolved.is_relative_to(part.mountpoint)]
    kind = max(places, key=lambda part: len(part.mountpoint)).fstype.lower() if places else ""
    return kind if kind.startswith(NETWORK) else None
