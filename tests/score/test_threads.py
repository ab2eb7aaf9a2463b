"""Blocks on several threads: in order, the first alone, never more under way than there are threads."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from oodgrid.score.threads import on_threads


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 23])
def test_results_come_in_order(monkeypatch, threads, count):
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    rng = np.random.default_rng(0)
    delays = rng.random(count) * 0.01

    def slow(number):
        time.sleep(delays[number])
        return number

    assert list(on_threads(slow, range(count))) == list(range(count))


@pytest.mark.parametrize(("most", "limit"), [(None, 3), (2, 2), (9, 3)])
def test_the_first_is_done_before_another_begins_and_few_are_under_way(monkeypatch, most, limit):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    lock, events, running = threading.Lock(), [], set()

    def watched(number):
        with lock:
            running.add(number)
            events.append(set(running))
        time.sleep(0.005)
        with lock:
            running.discard(number)
        return number

    list(on_threads(watched, range(12), most))
    assert events[0] == {0}
    assert all(0 not in event for event in events[1:])
    assert 1 < max(map(len, events)) <= limit


def test_products_are_those_of_one_thread():
    def threads(_):
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    assert list(on_threads(threads, range(3))) == [{1}] * 3


def test_an_error_in_a_block_is_an_error(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(ZeroDivisionError):
        list(on_threads(lambda number: 1 / (3 - number), range(9)))
