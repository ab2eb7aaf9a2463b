"""The threads of a job: what they make comes in order, whatever the environment says of their number."""

from __future__ import annotations

import time

import pytest

from oodgrid.threads import of_job, side_by_side


@pytest.mark.parametrize("number", ["1", "3", "4,2", ""])
def test_results_come_in_the_order_of_the_items(monkeypatch, number):
    monkeypatch.setenv("OMP_NUM_THREADS", number)

    def slow(item):
        time.sleep(0.01 * (item % 3))
        return item * 2

    assert list(side_by_side(slow, range(10))) == [item * 2 for item in range(10)]


@pytest.mark.parametrize(("number", "threads"), [("1", 1), ("3", 3), ("4,2", 4), ("", 7), (None, 7)])
def test_a_job_has_the_threads_that_its_environment_says(monkeypatch, number, threads):
    monkeypatch.delenv("OMP_NUM_THREADS")
    if number is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", number)
    assert of_job(otherwise=7) == threads
