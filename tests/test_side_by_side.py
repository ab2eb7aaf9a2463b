"""The threads of a job: what they make comes in order, whatever the environment says of their number."""

from __future__ import annotations

import time

import pytest

from oodgrid import environment, store
from oodgrid.errors import OodgridError
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


ODD = ["x", "-1", "1.5", "1e400", "nan", "²", "٣", "1_0", "9" * 5000, "\n1\n2", "gpu:2", ",4"]


@pytest.mark.parametrize("number", ODD)
def test_a_variable_that_is_no_number_is_one_line_that_names_it(monkeypatch, number, tmp_path):
    for name, otherwise in (("OMP_NUM_THREADS", 7), ("SLURM_CPUS_PER_TASK", 3)):
        with pytest.raises(OodgridError, match=rf"^{name}=.{{0,60}}: a whole number from 1 on is needed") as caught:
            environment.whole_number(name, otherwise, {name: number})
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("OODGRID_WAIT", number)
    if number != "1.5":
        with pytest.raises(OodgridError, match=r"^OODGRID_WAIT=.{0,60}: a number of seconds is needed"):
            store.check(tmp_path / "gone.h5")


@pytest.mark.parametrize(("written", "number"), [(None, 5), ("", 5), ("  ", 5), (" 3 ", 3), ("007", 7), ("4, 2", 4)])
def test_numbers_of_variables_as_shells_and_batch_systems_write_them(written, number):
    variables = {} if written is None else {"N": written}
    assert environment.whole_number("N", 5, variables) == number


def test_the_smallest_number_is_a_number():
    assert environment.whole_number("N", 5, {"N": "0"}, least=0) == 0
    with pytest.raises(OodgridError, match="N=0: a whole number from 1 on"):
        environment.whole_number("N", 5, {"N": "0"})
