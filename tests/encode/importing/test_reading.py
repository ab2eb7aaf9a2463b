from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oodgrid.backbones import array_files
from oodgrid.encode import lines
from oodgrid.encode.importing import reading
from tests.failing import failure

IN_PLACE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r\ufeff"), max_size=8), min_size=1)


@IN_PLACE
@given(lines=LINES, end=st.sampled_from(["\n", "\r\n", "\r"]), mark=st.sampled_from(["", "\ufeff"]))
def test_lines_come_as_they_are(tmp_path, lines, end, mark):
    """Python's own splitlines breaks them at form feeds and at U+2028 too."""
    assert reading.read_lines(written(tmp_path, "x.txt", mark + "".join(line + end for line in lines))) == lines


def test_the_last_line_may_lack_its_end(tmp_path):
    assert reading.read_lines(written(tmp_path, "x.txt", "a\n b ")) == ["a", " b "]
    assert reading.read_lines(written(tmp_path, "x.txt", "")) == []


def test_lines_in_another_encoding_are_refused(tmp_path):
    assert "x.txt is not UTF-8 text (byte 1)" in failure(reading.read_lines, written(tmp_path, "x.txt", b"a\xe9"))
    assert "is not UTF-8" in failure(lines.read_names, written(tmp_path, "x.json", b'["\xe9"]'))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("y.txt", "2\n0\n-1\n"),
        ("y.txt", "\ufeff2\r\n0\r\n\r\n-1\r\n"),
        ("y.csv", "2\n0\n-1"),
        ("y.csv", "label\n2\n0\n-1\n"),
        ("y.csv", 'path,Label\n"a,b",2\nb,0\nc,-1\n'),
        ("y.csv", "labels\n2\n0\n-1\n"),
    ],
)
def test_labels_from_text(tmp_path, name, text):
    assert reading.read_labels(written(tmp_path, name, text)).tolist() == [2, 0, -1]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("y.txt", "1\ncat\n", "one whole number a line"),
        ("y.txt", "1\n0.5\n", "one whole number a line"),
        ("y.txt", "99999999999999999999\n", "one whole number a line"),
        ("y.csv", "path,class\na,1\n", "several columns: name the one of the labels 'label'"),
        ("y.csv", "path,label\na\n", "one whole number a line"),
    ],
)
def test_labels_that_are_none_are_one_line(tmp_path, name, text, said):
    line = failure(reading.read_labels, written(tmp_path, name, text))
    assert said in line
    assert name in line


def test_an_npy_file_is_mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(2, 3))
    found = reading.load_array(tmp_path / "x.npy")
    assert isinstance(found, np.memmap)
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_files_that_are_something_else_are_one_line(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.savez(file, a=np.ones(2))
    assert "it is an .npz archive" in failure(reading.load_array, tmp_path / "x.npy")
    for read in (reading.load_array, array_files.read_npz, reading.read_lines, reading.read_labels):
        assert "is a folder" in failure(read, tmp_path)
        assert "does not exist" in failure(read, tmp_path / "none")
    np.save(tmp_path / "y.npy", np.ones((100, 8)))
    data = (tmp_path / "y.npy").read_bytes()
    (tmp_path / "y.npy").write_bytes(data[:2000])
    assert "y.npy is not a readable .npy file" in failure(reading.load_array, tmp_path / "y.npy")
