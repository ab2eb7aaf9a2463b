from __future__ import annotations

import csv
import gzip
import re

import numpy as np
import polars as pl
import pytest

from oodgrid.errors import OodgridError
from oodgrid.evaluate import score_files
from oodgrid.evaluate.intervals import intervals
from oodgrid.evaluate.metrics import RATES, count_scores, detection_metrics
from oodgrid.evaluate.score_csv import Dialect

SCORES = np.array([0.25, -1.5, 3e-300, 1e300, 0.1])


@pytest.fixture
def stage_table(tmp_path):
    """A table as the stage score leaves it: two sets under two fits."""
    rows = [(name, 1, seed, i, f"{i}.png", 0, 0, 10.0 * seed + i + (name == "cars"))
            for seed in (1, 2) for name in ("pets", "cars") for i in range(3)]  # fmt: skip
    columns = ["dataset", "shots", "seed", "index", "path", "label", "prediction", "mcm@T=0.5"]
    path = tmp_path / "coop@epochs=2.parquet"
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(path)
    return path


def test_rows_of_a_table_of_the_stage_score(stage_table):
    assert score_files.read_scores(f"{stage_table}@dataset=cars,seed=2", "mcm@T=0.5").tolist() == [21, 22, 23]
    assert score_files.read_scores(f"{stage_table}@shots=1,dataset=pets,seed=1").tolist() == [10, 11, 12]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            "",
            "several sets or fits .dataset: pets, cars; seed: 1, 2.: choose one, as coop@epochs=2",
        ),
        ("@dataset=pets", "several sets or fits .seed: 1, 2."),
        ("@dataset=planes", "no row has dataset=planes"),
        ("@datset=pets", "did you mean 'dataset'"),
    ],
)
def test_a_table_of_the_stage_score_is_never_taken_for_one_set(stage_table, where, said):
    with pytest.raises(OodgridError, match=said):
        score_files.read_scores(f"{stage_table}{where}")


def write(path, content):
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def refusal(path, column=None):
    with pytest.raises(OodgridError) as error:
        score_files.read_scores(path, column)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz", "S.CSV", "s.CSV.GZ"])
@pytest.mark.parametrize("header", ["", "mcm_score\n", "\ufeffmcm_score\n", "# mcm_score\n", '"mcm"\n'])
def test_csv_reads_exactly_with_or_without_header(tmp_path, name, header):
    path = write(tmp_path / name.lower(), header + "\n".join(map(repr, SCORES.tolist())) + "\n")
    path = path.rename(tmp_path / name)
    assert score_files.read_scores(path).tolist() == SCORES.tolist()


def test_csv_of_a_byte_order_mark_and_numbers_keeps_the_first(tmp_path):
    assert score_files.read_scores(write(tmp_path / "s.csv", "\ufeff1\n2\n")).tolist() == [1, 2]


@pytest.mark.parametrize(
    "text",
    ["1\n2\n3", "s\r\n1\r\n2\r\n3\r\n", " 1\n2 \n 3 \n", '"1"\n"2"\n"3"\n', "1\n2\n3\n\n\n", "s\n1e0\n+2\n3.\n"],
)
def test_csv_dialects(tmp_path, text):
    got = score_files.read_scores(write(tmp_path / "s.csv", text))
    assert got.tolist() == [1, 2, 3]
    assert got.dtype == np.float64


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", ">f4"])
def test_npy_number_types(tmp_path, dtype):
    scores = np.arange(7).astype(dtype)
    np.save(tmp_path / "s.npy", scores)
    got = score_files.read_scores(tmp_path / "s.npy")
    assert got.dtype == np.float64
    assert got.tolist() == scores.tolist()


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32, pl.Int32, pl.UInt8])
def test_parquet_number_types(tmp_path, dtype):
    pl.DataFrame({"mcm": pl.Series([3, 1, 2], dtype=dtype)}).write_parquet(tmp_path / "s.parquet")
    got = score_files.read_scores(tmp_path / "s.parquet")
    assert got.dtype == np.float64
    assert got.tolist() == [3, 1, 2]


def test_parquet_names_with_wildcards_are_plain_names(tmp_path):
    pl.DataFrame({"mcm": [1.0]}).write_parquet(tmp_path / "a[1]*.parquet")
    assert score_files.read_scores(tmp_path / "a[1]*.parquet").tolist() == [1.0]


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz", "s.parquet"])
def test_column_is_chosen_by_name(tmp_path, name):
    frame = pl.DataFrame({"path": ["a", "b"], "mcm": [1.0, 2.0], "energy": [3.0, 4.0]})
    if name.endswith(".parquet"):
        frame.write_parquet(tmp_path / name)
    else:
        write(tmp_path / name, frame.write_csv())
    path = tmp_path / name
    assert score_files.read_scores(path, "energy").tolist() == [3, 4]
    assert "3 columns, choose one with --score: path, mcm, energy" in refusal(path)
    assert "unknown column 'energi': did you mean 'energy'?" in refusal(path, "energi")
    expected = "type String" if name.endswith(".parquet") else "line 2 holds 'a', which is no number"
    assert expected in refusal(path, "path")


def test_empty_last_cell_is_no_blank_line(tmp_path):
    path = write(tmp_path / "s.csv", "mcm,energy\n1,2\n3,\n\n\n")
    assert score_files.read_scores(path, "mcm").tolist() == [1, 3]
    assert "1 of 2 scores is missing, NaN or infinite, the first at line 3" in refusal(path, "energy")


def test_one_column_of_another_name_is_refused(tmp_path):
    path = write(tmp_path / "s.csv", "energy\n1\n2\n")
    assert "unknown column 'mcm': known: energy" in refusal(path, "mcm")
    assert score_files.read_scores(path, "energy").tolist() == [1, 2]


def test_a_nameless_single_column_needs_no_name(tmp_path):
    np.save(tmp_path / "s.npy", np.ones(2))
    assert score_files.read_scores(tmp_path / "s.npy", "mcm").tolist() == [1, 1]
    assert score_files.read_scores(write(tmp_path / "s.csv", "1\n1\n"), "mcm").tolist() == [1, 1]


def test_index_column_is_pointed_out(tmp_path):
    path = write(tmp_path / "s.csv", ",score\n0,0.5\n1,0.7\n")
    assert "(the first looks like an index), choose one with --score: score" in refusal(path)
    assert score_files.read_scores(path, "score").tolist() == [0.5, 0.7]


def test_columns_without_header_or_with_one_name_twice(tmp_path):
    path = write(tmp_path / "s.csv", "1,2\n3,4\n")
    assert "2 columns, choose one with --score: column_1, column_2" in refusal(path)
    assert score_files.read_scores(path, "column_2").tolist() == [2, 4]
    assert score_files.read_scores(path, "2", Dialect(header=True)).tolist() == [4]
    assert "2 columns named 'a'" in refusal(write(tmp_path / "t.csv", "a,a\n3,4\n"), "a")


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("score\n", "holds no scores"),
        ("score\n1\nx1\n2\ny\n", "line 3 holds 'x1', which is no number"),
        ("1\n2\nNA\n", "line 3 holds 'NA', which is no number"),
        ("score\n1\n0,5\n", "line 3 has 2 cells and the first row 1; if its commas are decimal ones, say --decimal ,"),
        ("0,5\n1,5\n", "2 columns, choose one"),
        ('s\n"1,000"\n', "line 2 holds '1,000', which is no number: say --decimal , if that is a decimal comma"),
        ("s\n1.000.000\n", "take out what separates thousands"),
        ("s\n1 000,5\n", "2 cells"),
        ("s\n1_000\n", "line 2 holds '1_000', which is no number"),
        ("s\n١\n", "line 2 holds '١', which is no number"),
        ("name;s\na;1\n", "line 2 holds 'a;1', which is no number: if cells end there, say --separator ';'"),
        ("name\ts\na\t1\n", "say --separator tab"),
        ("s\n1\n# by me\n2\n", "line 3 holds '# by me', which is no number"),
        ("# by me\n", "holds no scores"),
        ('s\n"1\n2\n', "cannot be read"),
        ("s\n1\0\n", "holds NUL bytes"),
        ("s\n" + "9" * 5000 + "\n", "1 of 1 score is missing, NaN or infinite"),
        ("s\n1e999\n2\n", "1 of 2 scores is missing, NaN or infinite, the first at line 2"),
        ("score\n1\nnan\n2\ninf\n", "2 of 4 scores are missing, NaN or infinite, the first at line 3"),
        ("1\n\n2\n", "1 of 3 scores is missing, NaN or infinite, the first at line 2"),
        ('s\n1\n""\n2\n', "1 of 3 scores is missing, NaN or infinite, the first at line 3"),
        ("nan\n1\n", "1 of 2 scores is missing, NaN or infinite, the first at line 1"),
        ("a;b\n1;2\n", "line 2 holds '1;2'"),
    ],
)
def test_bad_csv(tmp_path, name, text, expected):
    assert expected in refusal(write(tmp_path / name, text))


def test_csv_in_another_encoding_is_read_where_it_says_so_and_else_refused(tmp_path):
    text = "score\n1\n2\n"
    assert score_files.read_scores(write(tmp_path / "s.csv", text.encode("utf-16"))).tolist() == [1, 2]
    assert "holds NUL bytes" in refusal(write(tmp_path / "s.csv", text.encode("utf-16-le")))
    assert "is no text in UTF-8 (byte 0): save it as UTF-8" in refusal(
        write(tmp_path / "s.csv", "Ähnlichkeit\n1\n".encode("latin-1"))
    )


@pytest.mark.parametrize(
    "text",
    [
        "0\n0.5\n0.7\n",  # pd.DataFrame(scores).to_csv(index=False)
        "0\n1\n2\n",
        '"0"\n0.5\n',
        "0,1\n0.5,0.7\n",
        "16\n0.5\n0.7\n",  # a column of that name, or one score of 16 among fractions
        "NA\n1\n2\n",
        "none\n1\n",
        "0.5x\n0.7\n",
        "1_000\n1\n",
        "(score)\n1\n",
        "-\n1\n",
    ],
)
def test_a_first_line_that_may_be_names_or_scores_is_never_guessed(tmp_path, text):
    path = write(tmp_path / "s.csv", text)
    assert "may be names or scores: say --header or --no-header" in refusal(path)
    name = next(csv.reader(text.splitlines()))[-1]
    rows = text.count("\n")
    assert len(score_files.read_scores(path, name, Dialect(header=True))) == rows - 1
    if re.fullmatch(r"[\d.\n]+", text):
        assert len(score_files.read_scores(path, None, Dialect(header=False))) == rows


def test_the_index_of_pandas_is_never_a_score(tmp_path):
    scores = "\n".join(f"{i},{i / 8}" for i in range(200))
    for header in (",0", "Unnamed: 0,0", "Unnamed: 0,score", ",score"):
        path = write(tmp_path / "s.csv", f"{header}\n{scores}\n")
        assert "the first looks like an index" in refusal(path)
        column = score_files.read_column(path, header.rsplit(",", 1)[1])
        assert column.scores.tolist() == [i / 8 for i in range(200)]
        assert column.said("s.csv") == f"read 200 rows of column '{column.name}' from s.csv"


COMMA = Dialect(decimal=",")


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("s\n0,5\n-1,25\n", COMMA),
        ("0,5\n-1,25\n", COMMA),
        ('"0,5"\n"-1,25"\n', COMMA),
        ("name;s\na;0,5\nb;-1,25\n", COMMA),
        ('name,s\na,"0,5"\nb,"-1,25"\n', Dialect(decimal=",", separator=",")),
        ("name\ts\na\t0,5\nb\t-1,25\n", Dialect(decimal=",", separator="tab")),
        ("name|s\na|0.5\nb|-1.25\n", Dialect(separator="|")),
        ("name s\na 0.5\nb -1.25\n", Dialect(separator="space")),
        ("name;s\na;0.5\nb;-1.25\n", COMMA),  # the other file of a pair, with decimal points
        ("s\n5e-1\n-125E-2\n", COMMA),
        ("# by me\n# today\ns\n.5\n-1.250\n", None),
        ("s\r0.5\r-1.25\r", None),
    ],
)
def test_csv_of_a_stated_dialect(tmp_path, text, dialect):
    assert score_files.read_scores(write(tmp_path / "a.csv", text), "s", dialect).tolist() == [0.5, -1.25]


def test_numbers_that_may_have_points_between_thousands_are_not_read_with_decimal_commas(tmp_path):
    path = write(tmp_path / "s.csv", "s\n1.234\n2.345\n")
    assert score_files.read_scores(path).tolist() == [1.234, 2.345]
    with pytest.raises(OodgridError, match=r"line 2 holds '1.234', which is no number: take out what separates"):
        score_files.read_scores(path, None, COMMA)


@pytest.mark.parametrize(
    "wrong", [{"decimal": ";"}, {"separator": ""}, {"separator": ";;"}, {"separator": "1"}, {"separator": "\n"}]
)
def test_dialects_that_no_file_has(wrong):
    with pytest.raises(OodgridError, match=r"--decimal|--separator"):
        Dialect(**wrong)


def test_a_dialect_is_of_csv_files_alone(tmp_path):
    np.save(tmp_path / "s.npy", np.ones(2))
    with pytest.raises(OodgridError, match=r"are for \.csv files: take them out"):
        score_files.compare_files(tmp_path / "s.npy", tmp_path / "s.npy", dialect=COMMA)


def test_what_was_read_is_said(tmp_path):
    np.save(tmp_path / "id.npy", np.ones(1234))
    path = write(tmp_path / "ood.csv", "# by me\nname;mcm\na;1.5\nb;2\n")
    said = []
    score_files.compare_files(tmp_path / "id.npy", path, "mcm", dialect=COMMA, say=said.append)
    assert said == [
        f"read 1,234 rows from {tmp_path / 'id.npy'}",
        f"read 2 rows of column 'mcm' from {path} (comment lines passed over: 1; with decimal points: it has no comma)",
    ]


@pytest.mark.parametrize("name", ["s.txt", "s.tsv", "s.pt", "s.npz", "s.gz", "s"])
def test_unknown_kinds_are_refused(tmp_path, name):
    assert "score files end in .npy, .csv, .csv.gz, .parquet" in refusal(write(tmp_path / name, "1\n"))


def test_missing_file_and_folder_are_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "s.csv")
    (tmp_path / "d.parquet").mkdir()
    assert "is a folder, not a file" in refusal(tmp_path / "d.parquet")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.ones((4, 2)), "has shape (4, 2)"),
        (np.ones((4, 1)), "has shape (4, 1)"),
        (np.float64(1), "has shape ()"),
        (np.array(["a"]), "has type <U1"),
        (np.array([True]), "has type bool"),
        (np.array([1j]), "has type complex128"),
        (np.zeros(2, dtype=[("a", "f8")]), "has type [('a', '<f8')]"),
        (np.array([]), "holds no scores"),
        (np.array([1, np.nan, -np.inf]), "2 of 3 scores are missing, NaN or infinite, the first at index 1"),
        (np.array([None, 1.0]), "cannot be read"),
    ],
)
def test_bad_npy(tmp_path, array, expected):
    np.save(tmp_path / "s.npy", array)
    assert expected in refusal(tmp_path / "s.npy")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"(7,)", b"(3,)", "has bytes behind its array of 3"),
        (b"(7,)", b"(9,)", "cannot be read"),
        (b"(7,), }" + 13 * b" ", b"(99999999999999,), }", "does not fit into memory"),
        (b"{'descr'", b"{{{{{{{{", "cannot be read"),
        (b"'<f8'", b"'<f4'", "has bytes behind its array of 7"),
    ],
)
def test_npy_whose_head_does_not_fit_its_body(tmp_path, old, new, expected):
    np.save(tmp_path / "s.npy", np.arange(7.0))
    whole = (tmp_path / "s.npy").read_bytes()
    assert old in whole
    assert expected in refusal(write_raw(tmp_path / "s.npy", whole.replace(old, new)))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series(["a", "b"]), "column 'mcm' has type String"),
        (pl.Series([True, False]), "column 'mcm' has type Boolean"),
        (pl.Series([[1.0], [2.0]]), "column 'mcm' has type List"),
        (pl.Series([], dtype=pl.Float64), "holds no scores"),
        (pl.Series([1.0, None, np.nan]), "2 of 3 scores are missing, NaN or infinite, the first at row 2"),
    ],
)
def test_bad_parquet(tmp_path, column, expected):
    pl.DataFrame({"mcm": column}).write_parquet(tmp_path / "s.parquet")
    assert expected in refusal(tmp_path / "s.parquet")


@pytest.mark.parametrize("kind", ["csv.gz", "npy", "parquet"])
def test_truncated_files_are_refused(tmp_path, kind):
    """A cut file must never pass as a smaller set of scores, wherever it is cut."""
    scores = np.random.default_rng(0).normal(size=2000)
    path = tmp_path / f"s.{kind}"
    if kind == "npy":
        np.save(path, scores)
    elif kind == "parquet":
        pl.DataFrame({"mcm": scores}).write_parquet(path)
    else:
        write(path, "s\n" + "\n".join(map(repr, scores.tolist())))
    whole = path.read_bytes()
    for cut in [0, 1, 5, 30, 90, len(whole) // 2, len(whole) - 9, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        refusal(path)


@pytest.mark.parametrize("kind", ["csv.gz", "npy", "parquet"])
def test_noise_is_refused(tmp_path, kind):
    rng = np.random.default_rng(1)
    for size in (3, 40, 5000):
        refusal(write_raw(tmp_path / f"s.{kind}", rng.bytes(size)))


def write_raw(path, content):
    path.write_bytes(content)
    return path


def test_damaged_gzip_is_refused(tmp_path):
    path = write(tmp_path / "s.csv.gz", "\n".join(map(str, range(3000))))
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(raw)
    assert "CRC" in refusal(path)


def test_damaged_parquet_never_escapes_as_another_error(tmp_path):
    path = tmp_path / "s.parquet"
    pl.DataFrame({"mcm": np.random.default_rng(0).normal(size=500)}).write_parquet(path)
    whole, rng = path.read_bytes(), np.random.default_rng(2)
    refused = 0
    for _ in range(100):
        raw = bytearray(whole)
        for place in rng.integers(len(raw) - 300, len(raw), 3):
            raw[place] ^= int(rng.integers(1, 256))
        path.write_bytes(raw)
        try:
            score_files.read_scores(path)
        except OodgridError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50


def test_npz_under_the_name_of_an_npy_is_refused(tmp_path):
    np.savez(tmp_path / "s.npz", a=np.ones(3))
    (tmp_path / "s.npz").rename(tmp_path / "s.npy")
    assert "cannot be read" in refusal(tmp_path / "s.npy")


def two_files(tmp_path, sign=1.0):
    rng = np.random.default_rng(0)
    id_scores, ood_scores = sign * rng.normal(2, 1, 400), sign * rng.normal(0, 1, 300)
    np.save(tmp_path / "id.npy", id_scores)
    pl.DataFrame({"mcm": ood_scores, "energy": ood_scores + 1}).write_parquet(tmp_path / "ood.parquet")
    return id_scores, ood_scores


def test_compare_files_is_a_row_of_metrics(tmp_path):
    id_scores, ood_scores = two_files(tmp_path)
    row = score_files.compare_files(tmp_path / "id.npy", tmp_path / "ood.parquet", "mcm")
    assert row == detection_metrics(id_scores, ood_scores) | intervals(count_scores(id_scores, ood_scores))
    assert list(row) == [
        "n_id",
        "n_ood",
        "auroc",
        "auroc_lo",
        "auroc_hi",
        "fpr95_id_pos",
        "fpr95_id_pos_lo",
        "fpr95_id_pos_hi",
        "fpr95_id_pos_mcm",
        "fpr95_ood_pos",
        "fpr95_ood_pos_lo",
        "fpr95_ood_pos_hi",
        "aupr_in",
        "aupr_out",
        "aupr_in_balanced",
        "aupr_out_balanced",
        "tied",
    ]
    assert {type(value) for value in row.values()} == {int, float}


def test_compare_files_negates_both_sides(tmp_path):
    two_files(tmp_path)
    row = score_files.compare_files(tmp_path / "id.npy", tmp_path / "ood.parquet", "mcm")
    two_files(tmp_path, sign=-1.0)
    assert score_files.compare_files(tmp_path / "id.npy", tmp_path / "ood.parquet", "mcm", negate=True) == row


def test_table_shows_percent_and_names_conventions(tmp_path):
    two_files(tmp_path)
    row = score_files.compare_files(tmp_path / "id.npy", tmp_path / "ood.parquet", "mcm")
    lines = score_files.format_table(row).splitlines()
    assert "400 ID and 300 OOD samples" in lines[0]
    assert len(lines) == 1 + len(RATES)
    rates = list(RATES)
    for line, name in zip(lines[1:], rates, strict=True):
        assert f" {100 * row[name]:.2f}" in line
        assert (f"[{100 * row.get(f'{name}_lo', 0):.2f}, " in line) == (f"{name}_lo" in row)
    assert "ID positive" in lines[2]
    assert "by the code of MCM" in lines[3]
    assert "OOD positive" in lines[4]


def test_table_hints_at_negated_scores():
    row = detection_metrics([0.0, 1.0], [2.0, 3.0])
    assert score_files.format_table(row).splitlines()[-1].endswith("did you mean --negate?")
    assert score_files.format_table(row, negate=True).splitlines()[-1].endswith("drop --negate")
    assert "negate" not in score_files.format_table(detection_metrics([1.0], [1.0]))
