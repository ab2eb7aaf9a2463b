"""Files of scores under thousands of mutations: what is read is what stands there, all else is one line of refusal.

Each case writes numbers in a random dialect and spoils the file, or not, in one of the ways below. A way returns what
must come of it: the scores, or a refusal. After blind edits of bytes, an accepted file is read again by a plain rule.
"""

from __future__ import annotations

import gzip
import math

import numpy as np
import polars as pl
import pytest

from oodgrid import store
from oodgrid.errors import OodgridError
from oodgrid.evaluate.score_csv import Dialect
from oodgrid.evaluate.score_files import compare_files, read_scores

REFUSED = None
WORDS = ["NA", "n/a", "nan", "NaN", "inf", "-Infinity", "null", "x", "0.5x", "--", "1_0", "1,5", "1 000", "0x10", "١",
         "1e999", "1.2.3", "1,000", "−1", "#", "=1", "True", "", '""', "$1", "1e", "1d5"]  # fmt: skip


def numbers_of(rng):
    kind = rng.integers(4)
    count = int(rng.integers(2, 30))
    values = [rng.normal(size=count), rng.normal(size=count) * 1e-300, rng.normal(size=count) * 1e8 + 0.5,
              np.round(rng.normal(size=count), 2) + 0.001][kind]  # fmt: skip
    return values.tolist()


def written(values, rng, header="score", newline="\n", decimal="."):
    forms = [repr, "{:+.17g}".format, "{:.17e}".format, lambda v: f" {v!r} ", lambda v: f'"{v!r}"']
    form = forms[rng.integers(len(forms))]
    lines = ([header] if header else []) + [form(value).replace(".", decimal) for value in values]
    return newline.join(lines) + newline * int(rng.integers(0, 4))


def plain(values, rng):
    """Nothing is wrong: any header, line end, encoding, comment lines."""
    text = written(values, rng, ["score", "", "mcm@T=0.5", "Ähnlichkeit", "_", '"a b"'][rng.integers(6)],
                   ["\n", "\r\n", "\r"][rng.integers(3)])  # fmt: skip
    text = ["", "# made by hand\n", "#\n#\n"][rng.integers(3)] + text
    encoding = ["utf-8", "utf-8-sig", "utf-16"][rng.integers(3)]
    return text.encode(encoding), {}, values


def commas(values, rng):
    """Decimal commas: read with the option, refused without."""
    text = written(values, rng, decimal=",").encode()
    return (text, {"decimal": ","}, values) if rng.random() < 0.5 else (text, {}, REFUSED)


def columns(values, rng):
    """A table under any separator: read with it and a name, refused where either is left open."""
    sign, said = [(",", None), (";", ";"), ("\t", "tab"), ("|", "|")][rng.integers(4)]
    lines = [f"name{sign}score"] + [f"img {number}{sign}{value!r}" for number, value in enumerate(values)]
    text = "\n".join(lines).encode()
    stated = {} if said is None else {"separator": said}
    how = rng.integers(3)
    if how == 0:
        return text, {**stated, "column": "score"}, values
    return text, ({"column": "score"} if how == 1 and said else stated), REFUSED


def spoilt_cell(values, rng):
    """One cell holds no number."""
    lines = written(values, rng, ["score", ""][rng.integers(2)]).strip().split("\n")
    at = int(rng.integers(lines[0] == "score", len(lines)))
    word = WORDS[rng.integers(len(WORDS))]
    lines[at] = word
    text = "\n".join(lines) + "\n"
    name = at == 0 and word[:1].isalpha() and word.lower() not in ("na", "n/a", "nan", "null", "inf")
    comment = at == 0 and word == "#"
    quietly_shorter = at == len(lines) - 1 and word == ""
    if name or comment or quietly_shorter:  # a name, a comment or no line at all: nobody can know that it was a number
        return text.encode(), {}, values[1:] if at == 0 else values[:-1]
    return text.encode(), {}, REFUSED


def doubtful_header(values, rng):
    """A first line that may be a name, as pandas numbers its columns."""
    text = written(values, rng, ["0", "7", '"0"', "16"][rng.integers(4)]).encode()
    how = rng.integers(3)
    return text, [{}, {"header": True}, {"header": False}][how], [REFUSED, values, ...][how]


def ragged(values, rng):
    """A row has more cells than the first."""
    lines = written(values, rng).strip().split("\n")
    lines[rng.integers(1, len(lines))] += ",1"
    return "\n".join(lines).encode(), {}, REFUSED


def no_text(values, rng):
    """Bytes that are no text, or no scores at all."""
    text = written(values, rng).encode()
    at = int(rng.integers(len(text)))
    return [text[:at] + b"\xff" + text[at:], text[:at] + b"\0" + text[at:], b"", b"\n \n", b"score\n", b"score",
            b"# c\n", b"a,b\n", text.decode().encode("utf-16-le")][rng.integers(9)], {}, REFUSED  # fmt: skip


def blind(values, rng):
    """Any bytes are changed, taken out or put in: `...` says that what is accepted is checked by a plain rule."""
    text = bytearray(written(values, rng, ["score", ""][rng.integers(2)]).encode())
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(text)))
        kind = rng.integers(3)
        byte = int(rng.choice(list(b'0123456789.,;-+eE" \n\r\t#xnai_')) if rng.random() < 0.7 else rng.integers(256))
        text[at : at + (kind != 1)] = b"" if kind == 2 else bytes([byte])
        if not text:
            break
    return bytes(text), {}, ...


WAYS = [plain, commas, columns, spoilt_cell, doubtful_header, ragged, no_text, blind, blind]


def read_plainly(raw):
    """The numbers of a file of one column, by its lines."""
    lines = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    while lines and lines[0].lstrip().startswith("#"):
        lines.pop(0)
    cells = [line.strip().strip('"').strip() for line in lines]
    try:
        float(cells[0])
    except ValueError:
        cells = cells[1:]
    return [float(cell) for cell in cells]


def outcome(path, stated):
    """The scores that are read, or None where the file is refused, in one line that names it."""
    column = stated.pop("column", None)
    try:
        return read_scores(path, column, Dialect(**stated)).tolist()
    except OodgridError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        return REFUSED


def check(seed, folder):
    rng = np.random.default_rng(seed)
    values = numbers_of(rng)
    way = WAYS[rng.integers(len(WAYS))]
    raw, stated, expected = way(values, rng)
    packed = rng.random() < 0.2
    path = folder / ("s.csv.gz" if packed else "s.csv")
    whole = gzip.compress(raw) if packed else raw
    if packed and rng.random() < 0.3:
        whole, expected = whole[: int(rng.integers(len(whole)))], REFUSED
    path.write_bytes(whole)
    got = outcome(path, dict(stated))
    where = f"seed {seed}, {way.__name__}, {stated}, {raw[:200]!r}"
    if expected is ...:
        if got is not None and not stated:
            assert got == read_plainly(raw), where
    else:
        assert got == expected, where
    assert got is None or all(map(math.isfinite, got)), where


def test_mutated_csv_files(tmp_path):
    for seed in range(500):
        check(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_many_mutated_csv_files(tmp_path, block):
    for seed in range(1000 * (block + 1), 1000 * (block + 2)):
        check(seed, tmp_path)


def check_binary(seed, folder):
    """A cut or lengthened .npy and any edit of a sealed table are refused; other damage never escapes as a traceback."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=int(rng.integers(1, 300)))
    kind = ["npy", "parquet", "sealed"][rng.integers(3)]
    path = folder / ("s.npy" if kind == "npy" else "s.parquet")
    if kind == "npy":
        np.save(path, values)
    elif kind == "parquet":
        pl.DataFrame({"mcm": values}).write_parquet(path)
    else:
        store.write_table(path, pl.DataFrame({"mcm": values}))
    whole = bytearray(path.read_bytes())
    marker = whole.rfind(store.SEAL.encode())
    edit = rng.integers(3)
    if edit == 0:
        whole = whole[: int(rng.integers(len(whole)))]
    elif edit == 1:
        whole += rng.bytes(int(rng.integers(1, 20)))
    else:
        at = int(rng.integers(len(whole)))
        if marker <= at < marker + len(store.SEAL):
            at = 0
        whole[at] ^= int(rng.integers(1, 256))
    path.write_bytes(whole)
    got = outcome(path, {})
    if edit < 2 or kind == "sealed":
        assert got is REFUSED, f"seed {seed}, {kind}, edit {edit}"
    assert got is None or all(map(math.isfinite, got))


def test_mutated_binary_files(tmp_path, capfd):
    for seed in range(150):
        check_binary(seed, tmp_path)
    assert capfd.readouterr() == ("", "")  # nothing that a library prints of its own accord


@pytest.mark.slow
def test_many_mutated_binary_files(tmp_path):
    for seed in range(1000, 4000):
        check_binary(seed, tmp_path)


def test_two_files_of_one_dialect_each(tmp_path):
    """One `--decimal ,` serves two files, one of which has decimal points."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(1, 1, 50), rng.normal(0, 1, 40)
    (tmp_path / "id.csv").write_text(written(one.tolist(), rng, decimal=","))
    (tmp_path / "ood.csv").write_text(written(other.tolist(), rng))
    np.save(tmp_path / "id.npy", one)
    np.save(tmp_path / "ood.npy", other)
    got = compare_files(tmp_path / "id.csv", tmp_path / "ood.csv", dialect=Dialect(decimal=","))
    assert got == compare_files(tmp_path / "id.npy", tmp_path / "ood.npy")
