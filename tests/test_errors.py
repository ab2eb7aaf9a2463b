from __future__ import annotations

import pytest

from oodgrid.errors import Mistakes, OodgridError, all_of, brief, first_line, near, printable, printed, unknown


def test_a_near_name_is_suggested():
    error = unknown("score", "mmc", ["energy", "mcm", "msp"])
    assert isinstance(error, OodgridError)
    assert str(error) == "unknown score 'mmc': did you mean 'mcm'?"


@pytest.mark.parametrize("name", ["MaxLogit", "max-logit", "MAX_LOGIT", "max logit", "maxlogit"])
def test_capitals_and_dashes_hide_no_name(name):
    assert near(name, ["max_logits", "max_logit", "mcm"]) == "max_logit"
    assert near("é", ["max_logit"]) is None


def test_without_a_near_name_all_are_listed_in_order():
    assert str(unknown("score", "zzz", {"msp", "mcm"})) == "unknown score 'zzz': known: mcm, msp"
    many = str(unknown("dataset", "zzz", [f"a-rather-long-name-{number:03}" for number in range(200)]))
    assert len(many) < 500
    assert many.endswith("-014, a-rather-long-name-015, …")


class PanicException(BaseException):
    """What polars raises where it fails within: no Exception."""


class Strange(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("one\ntwo"), "one"),
        (OSError("\x1b[31mred\x1b[0m"), "red"),
        (OSError(), "OSError"),
        (Strange(), "Strange"),
    ],
)
def test_the_first_line_of_a_foreign_error(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OodgridError("thing: mend"), "oodgrid: error: thing: mend"),
        (OodgridError("a\x00b\x1b[1m\ud800\nc"), "oodgrid: error: a\\x00b\\x1b[1m\\ud800 c"),
        (KeyboardInterrupt(), "oodgrid: interrupted; what was finished is kept"),
        (MemoryError(), "oodgrid: error: out of memory; use fewer --cores"),
        (MemoryError("Unable to allocate 7 GiB"), "oodgrid: error: out of memory: Unable to allocate 7 GiB; use fewer"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nMore"), "the memory of the GPU is too small"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "CUDA_VISIBLE_DEVICES= ",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "oodgrid: error: out of memory: [e",
        ),
        (RuntimeError("another"), "oodgrid: unexpected RuntimeError: another (--debug"),
        (RecursionError("maximum"), "oodgrid: error: something that was given is nested too deeply"),
        (SystemExit(3), "oodgrid: error: a plugin or a library ended the run (exit status 3)"),
        (SystemExit("usage: x"), "ended the run (exit status usage: x)"),
        (
            OSError(28, "No space left on device", "r/x.h5"),
            "r/x.h5: No space left on device; free space",
        ),
        (PermissionError(13, "Permission denied", "a\ud800"), "oodgrid: error: a\\ud800: Permission denied; mend its"),
        (FileNotFoundError(2, "No such file or directory", "x"), "oodgrid: error: x: No such file or directory"),
        (
            UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
            "error: a text cannot be read",
        ),
        (ModuleNotFoundError("No module named 'torch'"), "oodgrid: error: No module named 'torch' for "),
        (
            PanicException("called `unwrap`\n  at x"),
            "unexpected PanicException: called `unwrap` at x (--debug",
        ),
        (
            ZeroDivisionError("first\nsecond"),
            "unexpected ZeroDivisionError: first second (--debug shows where",
        ),
        (ValueError(), "oodgrid: unexpected ValueError (--debug"),
        (Strange(), "oodgrid: unexpected Strange (--debug"),
        (ValueError("word " * 1000), "word … (--debug"),
        (ValueError("\x1b[31mred\x1b[0m"), "oodgrid: unexpected ValueError: red (--debug"),
    ],
)
def test_whatever_comes_up_is_one_line_that_can_be_printed(error, said):
    line = printed(error)
    assert said in line
    assert line.isprintable()
    assert len(line) < 800


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "true"), (None, "null"), ("x" * 10**6, "'xxx"), ([1] * 9, "[1, 1"),
        ({"a": {"b": {"c": {"d": 1}}}}, "{'a':"), (b"\xff", "b'"), ("\ud800", "'\\ud800'"), (Strange(), "Strange"),
    ],
)  # fmt: skip
def test_any_value_is_shown_briefly(value, said):
    assert said in brief(value)
    assert len(brief(value)) < 250
    assert brief(value).isprintable()


def test_what_holds_itself_is_shown_too():
    value = []
    value.append(value)
    assert "..." in brief(value)


def test_a_number_of_any_length_is_shown_by_its_length():
    assert brief(10**5000) == "a whole number of about 4983 digits"


def test_a_text_is_cut_between_words():
    assert printable("one two three four", 10) == "one two …"
    assert printable("x" * 50, 10) == "x" * 10 + "…"


def test_all_checks_are_run_and_what_they_found_is_said_together():
    def fails(said):
        raise OodgridError(said)

    ran = []
    with pytest.raises(Mistakes) as caught:
        all_of(lambda: fails("a"), lambda: fails("b\nc"), lambda: fails("a"), lambda: ran.append(1))
    assert (caught.value.lines, ran) == (["a", "b", "c"], [1])
    assert printed(caught.value) == "oodgrid: error: a\noodgrid: error: b\noodgrid: error: c"
    with pytest.raises(OodgridError, match=r"^a$"):
        all_of(lambda: fails("a"))
    with pytest.raises(ZeroDivisionError):
        all_of(lambda: 1 / 0)


@pytest.mark.parametrize("length", [599, 600, 100_000])
def test_a_word_as_long_as_a_page_is_cut_in_its_middle(length):
    word = "a" + "9" * (length - 2) + "z"
    for error in (OodgridError(f"model {word}: mend it"), Mistakes([f"model {word}: mend it"])):
        said = printed(error)
        assert said.startswith("oodgrid: error: model a9") and said.endswith("9z: mend it")
        assert (word in said) == (length < 599)  # the colon behind it is part of the word
        assert len(said) < 700
