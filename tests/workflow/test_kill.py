"""kill -9 of a whole run at random moments: the next run goes on, and ends where an undisturbed one ends."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

ROUNDS = 4


def _kill_all(process) -> None:
    os.killpg(process.pid, signal.SIGKILL)  # the process leads a session of its own, so that its jobs die too
    process.communicate()


@pytest.mark.slow
def test_a_killed_run_goes_on_after_one_unlock_and_ends_the_same(evaluated):
    clone, _ = evaluated
    undisturbed = clone.metrics()
    moments = random.Random(0)
    for _ in range(ROUNDS):
        for part in ("mini", "kept"):
            clone.run("rm", "-rf", f"results/{part}")
        process = clone.start("snakemake", "--cores", "2", "metrics")
        time.sleep(moments.uniform(2.0, 9.0))
        _kill_all(process)
        clone.run("oodgrid", "unlock")  # what `make run` does first
        clone.snakemake("metrics")
        assert clone.metrics().equals(undisturbed)
        assert not list((clone.folder / "results" / "mini").rglob("*.part"))


@pytest.mark.slow
def test_a_lock_left_behind_is_explained_in_words(imported):
    clone, _ = imported
    process = clone.start("snakemake", "--cores", "2", "metrics")
    locks = clone.folder / ".snakemake" / "locks"
    while not locks.exists() or not any(locks.iterdir()):
        time.sleep(0.05)
    _kill_all(process)
    assert "--unlock" in clone.snakemake("metrics", ok=False)
    clone.run("oodgrid", "unlock")
    clone.snakemake("metrics")


@pytest.mark.slow
def test_a_job_that_is_killed_is_named(imported):
    """As a machine does that has no memory left; the job itself can say nothing."""
    clone, _ = imported
    clone.edit(
        "src/oodgrid/adapt/methods/prototype.py",
        "return Learned(",
        "__import__('os').kill(__import__('os').getpid(), 9), (",
    )
    output = clone.snakemake("metrics", ok=False)
    assert "oodgrid: failed: fit of clip-vit-b32, own, prototype, without a word" in output
