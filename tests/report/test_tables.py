from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from oodgrid import store
from oodgrid.report import render, select, tables
from oodgrid.report.names import Legend

RESULTS = Path(__file__).parents[2] / "results"
OVERLAPS = {("concepts", "textures")}


def one(metrics, overlaps=frozenset()):
    return select.one_pair(metrics, "tiny", "concepts", set(overlaps))


def values(metrics, name, **where):
    rows = [row for row in metrics.iter_rows(named=True) if all(row[key] == value for key, value in where.items())]
    return np.array([row[name] for row in rows], dtype=float)


def test_main_has_a_row_a_method_at_its_largest_shots(metrics):
    table = tables.main(one(metrics))
    assert table.frame.select("method", "shots", "seeds").rows() == [
        ("zero_shot", 0, 1),
        ("prototype", 16, 3),
        ("linear_probe", 16, 3),
        ("coop", 16, 0),
        ("clip_adapter", 16, 3),
        ("tip_adapter", 16, 3),
        ("tip_adapter_f", 16, 3),
    ]


def test_main_numbers_are_those_of_the_metrics(metrics):
    row = tables.main(one(metrics, OVERLAPS)).frame.row(by_predicate=pl.col("method") == "tip_adapter", named=True)
    where = {"method": "tip_adapter", "shots": 16, "score": "mcm"}
    digits = values(metrics, "auroc", ood_dataset="digits", **where)
    assert row["far.digits.auroc"] == pytest.approx(digits.mean(), abs=1e-15)
    assert row["far.digits.auroc_std"] == pytest.approx(digits.std(ddof=1), abs=1e-15)
    noise = values(metrics, "auroc", ood_dataset="noise", **where)
    assert row["far.average.auroc"] == pytest.approx((digits + noise).mean() / 2, abs=1e-15)
    assert row["far.average.auroc_std"] == pytest.approx(((digits + noise) / 2).std(ddof=1), abs=1e-15)
    accuracy = values(metrics, "id_accuracy", ood_dataset="noise", **where)
    assert row["id_accuracy"] == pytest.approx(accuracy.mean(), abs=1e-15)


def test_main_columns_are_grouped_and_overlaps_marked(metrics):
    headers = [column.header for column in tables.main(one(metrics, OVERLAPS)).columns]
    kinds = list(dict.fromkeys(header[0] for header in headers))
    assert kinds == ["", "Near OOD", "Far OOD", "Covariate shift"]
    assert [header[1] for header in headers if header[0] == "Far OOD"][::2] == [
        "digits",
        "noise",
        "textures†",
        "Average",
    ]
    assert ("Covariate shift", "Average", "AUROC") not in headers


def test_nothing_is_best_where_no_direction_is_better(metrics):
    better = {column.key: column.better for column in tables.main(one(metrics, OVERLAPS)).columns}
    assert better["far.digits.auroc"] == "↑"
    assert better["far.digits.fpr95_id_pos"] == "↓"
    assert better["far.textures.auroc"] == better["covariate.blurred_3.auroc"] == ""


def test_an_average_of_one_set_is_left_out(metrics_of):
    rows = one(metrics_of(sets={"near": ["a"], "far": ["b", "c"]}))
    keys = [column.key for column in tables.main(rows).columns]
    assert "near.average.auroc" not in keys
    assert "far.average.auroc" in keys
    assert tables.scores(rows).columns[0].header[0] == "Near OOD (a)"


def test_main_shows_the_score_asked_for(metrics):
    row = tables.main(one(metrics), score="energy").frame.row(0, named=True)
    expected = values(metrics, "auroc", method="zero_shot", score="energy", ood_dataset="digits")
    assert row["far.digits.auroc"] == expected[0]


def test_scores_numbers_and_both_conventions(metrics):
    table = tables.scores(one(metrics, OVERLAPS))
    assert [column.header[1] for column in table.columns[:3]] == [
        "AUROC ↑",
        "FPR95 (ID pos.) ↓",
        "FPR95 (OOD pos.) ↓",
    ]
    row = table.frame.row(by_predicate=(pl.col("method") == "any") & (pl.col("score") == "knn"), named=True)
    sets = [values(metrics, "fpr95_ood_pos", method="any", score="knn", shots=16, ood_dataset=name)
            for name in ("digits", "noise")]  # fmt: skip
    assert row["far.fpr95_ood_pos"] == pytest.approx(np.mean(sets), abs=1e-15)
    assert table.columns[3].header[0] == "Far OOD (mean of 2 sets)"


def test_notes_say_what_is_missing_and_why(metrics):
    notes = " ".join(tables.main(one(metrics, OVERLAPS)).notes)
    assert "† Classes of this OOD set overlap" in notes
    assert "Covariate shift:" in notes
    assert "-- no number. CoOp: needs the text tower" in notes
    notes = " ".join(tables.scores(one(metrics, OVERLAPS)).notes)
    assert (
        "Left out of the averages: textures (its classes overlap the ID classes), blurred_3 (covariate shift)" in notes
    )


def test_fewer_seeds_than_asked_for_are_said(metrics_of):
    def skip(method, shots, seed, score, ood):
        return "diverged" if method == "coop" and seed == 3 else None

    table = tables.main(one(metrics_of(methods=("zero_shot", "coop"), skip=skip)))
    assert table.frame["seeds"].to_list() == [1, 2]
    assert "Incomplete, means are over what worked: CoOp: diverged." in table.notes
    assert not any("--" in note for note in table.notes)


def test_an_average_lacking_a_set_is_no_number(metrics_of):
    def skip(method, shots, seed, score, ood):
        return "corrupt file" if method == "coop" and ood == "digits" else None

    row = tables.main(one(metrics_of(skip=skip))).frame.row(by_predicate=pl.col("method") == "coop", named=True)
    assert row["far.digits.auroc"] is None
    assert row["far.average.auroc"] is None
    assert row["far.noise.auroc"] is not None


def test_full_holds_every_row_and_both_rates_in_percent(metrics):
    full = tables.full(one(metrics, OVERLAPS))
    assert len(full) == len(metrics)
    assert full["auroc_percent"].to_list() == (metrics["auroc"] * 100).to_list()
    for name in ("fpr95_id_pos", "fpr95_ood_pos_hi", "aupr_in", "aupr_out", "id_accuracy"):
        assert f"{name}_percent" in full.columns
        assert name not in full.columns
    assert full.filter(pl.col("overlaps_id"))["ood_dataset"].unique().to_list() == ["textures"]


def test_fits_below_zero_shot_are_named_and_marked(metrics_of):
    made = metrics_of(methods=("zero_shot", "coop", "prototype"), shots=(1, 4), seeds=(1, 2))
    low = (pl.col("method") == "coop") & (pl.col("seed") == 2)
    made = made.with_columns(id_accuracy=pl.when(low).then(0.1234).otherwise("id_accuracy"))
    rows = one(made)
    note = tables.main(rows).notes[-1]
    assert note.startswith("Below the ID accuracy of zero-shot (62.")
    assert note.endswith("as a collapsed fit is: CoOp 1 of 2 seeds (lowest 12.34).")
    marked = tables.full(rows).filter(pl.col("below_zero_shot"))
    assert set(marked.select("method", "shots", "seed").rows()) == {("coop", 1, 2), ("coop", 4, 2)}
    assert len(marked) == len(made.filter(low))
    assert len(tables.full(rows)) == len(made)


def test_without_zero_shot_nothing_is_below_it(metrics_of):
    rows = one(metrics_of(methods=("coop",)))
    assert not tables.full(rows)["below_zero_shot"].any()
    assert not any("Below" in note for note in tables.main(rows).notes)


def test_skipped_unfolds_to_exactly_the_rows_without_numbers(metrics_of):
    def skip(method, shots, seed, score, ood):
        if method == "coop":
            return "no text tower"
        odd = (shots, seed, ood) in {(1, 1, "noise"), (2, 3, "noise"), (2, 3, "digits")}
        return "ragged" if odd and score in ("mcm", "entropy") else None

    rows = one(metrics_of(skip=skip))
    listed = tables.skipped(rows)
    every = " ".join(select.names(rows, "ood_dataset"))
    unfolded = [
        (line["method"], score, int(shots), int(seed), ood, line["reason"])
        for line in listed.iter_rows(named=True)
        for score in line["score"].split()
        for shots in line["shots"].split()
        for seed in line["seed"].split()
        for ood in line["ood_dataset"].replace("all", every).split()
    ]
    missing = rows.filter(pl.col("status") != "ok")
    expected = missing.select("method", "score", "shots", "seed", "ood_dataset", "reason").rows()
    assert sorted(unfolded) == sorted(expected)
    assert len(listed.filter(pl.col("method") == "coop")) == 1


FILES = {
    "main.tex", "main.csv", "main.md", "scores.tex", "scores.csv", "scores.md", "full.csv", "skipped.csv", "skipped.md"
}  # fmt: skip


def test_files_of_every_pair_and_the_same_bytes_again(metrics_of, tmp_path):
    pairs = (("tiny", "concepts"), ("tiny", "digits"), ("big", "concepts"))
    metrics = metrics_of(methods=("zero_shot", "coop"), scores=("mcm", "msp"), shots=(4,), seeds=(1, 2), pairs=pairs)
    for run in ("a", "b"):
        tables.write_tables(metrics, tmp_path, run, OVERLAPS)
    written = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    assert {path.as_posix() for path in written} == {
        f"tables/{backbone}/{name}/{file}" for backbone, name in pairs for file in FILES
    }
    assert all((tmp_path / "b" / path).read_bytes() == data for path, data in written.items())


def test_the_order_of_rows_in_memory_chunks_changes_nothing(metrics):
    chunked = pl.concat([metrics[start : start + 97] for start in range(0, len(metrics), 97)], rechunk=False)
    assert render.csv(tables.main(one(chunked))) == render.csv(tables.main(one(metrics)))


def test_fpr95_never_stands_without_its_convention(metrics):
    rows = one(metrics, OVERLAPS)
    for table in (tables.main(rows), tables.scores(rows)):
        for text in (render.latex(table), render.markdown(table), render.html(table)):
            assert "FPR95" in text
            assert not re.search(r"FPR95(?!(\\\\| )\((ID|OOD)\spos\.\))", text)


def columns_of(line):
    spans = [re.match(r"\s*\\multicolumn\{(\d+)\}", cell) for cell in re.split(r"(?<!\\)&", line)]
    return sum(int(span.group(1)) if span else 1 for span in spans)


EDGES = {
    "one_method": {"methods": ("zero_shot",), "features": ()},
    "one_set": {"sets": {"far": ["digits"]}},
    "covariate_only": {"sets": {"covariate": ["blur"]}},
    "all_skipped": {"skip": lambda *_: "50% of {it} & more_of #it failed"},
    "one_seed_one_shot": {"seeds": (1,), "shots": (16,)},
    "feature_scores_only": {"methods": ()},
    "odd_names": {"scores": ("mcm@T=0.5", "a_b%"), "sets": {"near": ["x_1&y", "p#q"]}},
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("overlap_all", [False, True])
def test_edges_give_sound_tables(metrics_of, edge, overlap_all):
    metrics = metrics_of(**EDGES[edge])
    overlaps = {("concepts", name) for name in metrics["ood_dataset"].unique()} if overlap_all else set()
    rows = one(metrics, overlaps)
    for table in (tables.main(rows), tables.scores(rows)):
        lines = render.latex(table).splitlines()
        width = len(table.stubs) + len(table.columns)
        assert {columns_of(line) for line in lines if line.endswith("\\\\")} == {width}
        spec = next(line for line in lines if line.startswith("\\begin"))
        assert len(re.search(r"@\{\}([lr]+)@\{\}", spec).group(1)) == width
        body = [line for line in render.markdown(table).splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in body} == {width + 1}
        assert len(body) == 2 + len(table.frame)
        read = pl.read_csv(io.StringIO(render.csv(table)))
        assert read.height == table.frame.height


STRANGE = "=1+1 | <b>x</b> $a_1$ \\\\input{x} % & [y](z) `w` ~~v~~ \"q\" 'r'\n\\end{document}"


def test_words_of_users_are_words_in_every_clothing(metrics_of):
    """A reason may hold whatever a plugin said: no markup, no formula, no command, and no row of its own."""
    metrics = metrics_of(methods=("zero_shot", "mine"), shots=(1,), seeds=(1,), scores=("mcm",), features=(),
                         sets={"near": ["a"], "far": ["b"]},
                         skip=lambda method, *_: STRANGE if method == "mine" else None)  # fmt: skip
    rows = select.one_pair(metrics, "tiny", "concepts", set())
    table, missing = tables.main(rows), tables.skipped(rows)
    assert "<b>" not in render.html(table)
    assert [line.count("|") - line.count("\\|") for line in render.markdown_list(missing).splitlines()] == [8, 8, 8]
    assert all(
        row.startswith("% ") or "=1+1" not in row or "<b>" not in row for row in render.latex(table).splitlines()
    )
    assert r"\end{document}" not in render.latex(table)
    read = pl.read_csv(io.StringIO(render.inert(missing).write_csv()))
    assert read["reason"].to_list() == ["'" + STRANGE]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_csv_begins_as_a_formula_does(start):
    frame = pl.DataFrame({"name": [f"{start}1+1", "a=1", None], "value": [-1.0, 2.0, None]})
    assert render.inert(frame).rows() == [(f"'{start}1+1", -1.0), ("a=1", 2.0), (None, None)]


def test_an_ood_set_called_average_moves_no_average(metrics_of):
    def averages(name):
        metrics = metrics_of(methods=("zero_shot",), shots=(1,), seeds=(1,), scores=("mcm",), features=(),
                             sets={"near": ["a", "b"]})  # fmt: skip
        renamed = metrics.with_columns(pl.col("ood_dataset").replace("a", name))
        table = tables.main(select.one_pair(renamed, "tiny", "concepts", set()))
        assert len({column.key for column in table.columns}) == len(table.columns)
        return [table.frame[column.key].to_list() for column in table.columns]

    assert averages("average") == averages("a")


def test_remarks_on_fits_that_worked_are_said_once_each_with_the_seeds_they_are_about(metrics):
    """Remarks of one fit are joined by semicolons in `reason`; what is not about all seeds says of how many."""
    tip, rest = pl.col("method") == "tip_adapter", pl.col("reason")
    both = pl.when(tip & (pl.col("seed") == 1)).then(pl.lit("b is at the end; a is at the end"))
    one = both.when(tip).then(pl.lit("a is at the end")).otherwise(rest)
    rows = select.one_pair(metrics.with_columns(reason=one), "tiny", "concepts", set())
    seeds = rows.filter(tip)["seed"].n_unique()
    [note] = [note for note in tables.main(rows).notes if note.startswith("Mind: ")]
    assert seeds > 1
    assert "Tip-Adapter: a is at the end" in note
    assert f"Tip-Adapter (1 of {seeds} seeds): b is at the end" in note
    assert note.count("a is at the end") == note.count("b is at the end") == 1


@pytest.mark.parametrize("experiment", sorted(path.parent.name for path in RESULTS.glob("*/metrics.parquet")))
def test_committed_results_are_typeset_and_drawn_as_those_with_bases_are(experiment):
    """Those of before December 2026 lack the columns base_method and base_score."""
    metrics, about = store.read_table(RESULTS / experiment / "metrics.parquet")
    curves, _ = store.read_table(RESULTS / experiment / "curves.parquet")
    bases = [pl.col(name).str.extract(r"(\w+)").alias(f"base_{name}") for name in ("method", "score")]
    backbone, id_dataset = select.pairs(metrics)[0]
    texts = []
    for frames in ((metrics, curves), (metrics.with_columns(bases), curves.with_columns(bases))):
        rows, drawn = (select.one_pair(frame, backbone, id_dataset, set()) for frame in frames)
        streams = select.only(rows, about.get("transductive", []))
        rows = select.without(rows, about.get("transductive", []))
        texts.append([render.latex(tables.main(rows)), render.markdown(tables.scores(rows)), Legend.of(drawn)])
        texts[-1].append(render.markdown(tables.streams(streams)) if len(streams) else "")
    assert texts[0] == texts[1]
    assert "CLIP-Adapter" in texts[0][0]
    assert "order=" not in texts[0][-1]
