from __future__ import annotations

import polars as pl
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_hex

from oodgrid import paths, registry
from oodgrid.report import canvas, figures, names, select

OVERLAPS = {("concepts", "textures")}


def one(frame, overlaps=frozenset()):
    return select.one_pair(frame, "tiny", "concepts", set(overlaps))


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def words(figure):
    """All text of a figure in one string."""
    figure.draw_without_rendering()
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    drawn = [text.get_text() for text in [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]]
    return " ".join([*titles(figure), *legends, *drawn]).replace("\n", " ")


def test_roc_has_a_panel_a_set_and_a_line_a_method(curves):
    figure = figures.roc(one(curves, OVERLAPS), "mcm")
    assert titles(figure) == [
        "unseen-combinations (near)", "unseen-shapes (near)", "semantic_2 (near)", "digits (far)", "noise (far)"
    ]  # fmt: skip
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels == ["Zero-shot", "Prototype", "Linear probe", "CLIP-Adapter", "Tip-Adapter", "Tip-Adapter-F",
                      "95 % ID recall"]  # fmt: skip


def test_roc_marks_the_operating_point_on_the_curve(curves):
    figure = figures.roc(one(curves), "mcm")
    line = figure.axes[0].lines[0]
    (index,) = line.get_markevery()
    expected = curves.filter(pl.col("method") == "zero_shot", pl.col("score") == "mcm").row(0, named=True)
    assert line.get_xdata()[index] == pytest.approx(100 * expected["fpr95_id_pos"], abs=1.0)
    assert line.get_ydata()[index] == pytest.approx(95, abs=1.0)


def test_roc_of_tied_scores_is_the_chance_line_on_the_log_axis_too(curves):
    tied = curves.filter(pl.col("method") == "zero_shot", pl.col("score") == "mcm")[:1].with_columns(
        roc_fpr=pl.lit([0.0, 1.0]), roc_tpr=pl.lit([0.0, 1.0]), fpr95_id_pos=pl.lit(1.0)
    )
    line = figures.roc(one(tied), "mcm").axes[0].lines[0]
    assert line.get_ydata() == pytest.approx(line.get_xdata(), abs=1e-9)
    assert line.get_xdata()[0] == pytest.approx(0.1)


def test_roc_shows_the_operating_point_of_perfect_detection(curves):
    perfect = curves.filter(pl.col("method") == "zero_shot", pl.col("score") == "mcm")[:1].with_columns(
        roc_fpr=pl.lit([0.0, 0.0, 0.0, 1.0]), roc_tpr=pl.lit([0.0, 0.95, 1.0, 1.0]), fpr95_id_pos=pl.lit(0.0)
    )
    line = figures.roc(one(perfect), "mcm").axes[0].lines[0]
    (index,) = line.get_markevery()
    assert line.get_xdata()[index] == pytest.approx(0.1)
    assert set(line.get_ydata()) == {100.0}


def test_a_method_has_one_colour_in_every_figure(metrics, curves):
    for figure in (figures.roc(one(curves), "mcm"), figures.shots(one(metrics), "mcm")):
        for axes in figure.axes:
            colours = {line.get_label(): to_hex(line.get_color()).upper() for line in axes.lines}
            assert colours["CLIP-Adapter"] == registry.find("method", "clip_adapter").look.colour
            assert colours["Zero-shot"] == registry.find("method", "zero_shot").look.colour


def test_no_figure_shows_an_overlap_or_covariate_shift(metrics, curves):
    rows, drawn = one(metrics, OVERLAPS), one(curves, OVERLAPS)
    for figure in (figures.roc(drawn, "mcm"), figures.histograms(drawn, select.histogram_rows(rows, "mcm"))):
        assert "digits" in words(figure)
        assert "textures" not in words(figure)
        assert "blurred" not in words(figure)


def test_overlaps_move_no_average_in_a_figure(metrics):
    without = one(metrics.filter(pl.col("ood_dataset") != "textures"))
    assert words(figures.scores(one(metrics, OVERLAPS))) == words(figures.scores(without))


def test_histograms_write_their_numbers_and_keep_one_colour_for_id(metrics, curves):
    figure = figures.histograms(one(curves), [("zero_shot", "mcm"), ("any", "knn")])
    row = curves.filter(pl.col("method") == "any", pl.col("score") == "knn", pl.col("ood_dataset") == "digits")
    assert f"AUROC {100 * row['auroc'][0]:.1f} FPR95 (ID pos.) {100 * row['fpr95_id_pos'][0]:.1f}" in words(figure)
    for axes in figure.axes:
        assert [to_hex(patch.get_edgecolor()).upper() for patch in axes.patches] == [names.BLUE, names.ORANGE]


def test_histograms_of_a_row_share_their_range(curves):
    figure = figures.histograms(one(curves), [("zero_shot", "mcm"), ("any", "knn")])
    limits = [axes.get_xlim() for axes in figure.axes]
    assert limits[0] == limits[1] == limits[2]
    assert limits[3] == limits[4] == limits[5]
    assert limits[0] != limits[3]


def test_histogram_range_leaves_far_outliers_out():
    edges = list(range(101))
    row = {
        "hist_edges": edges,
        "hist_id": [0] * 40 + [0.1] * 10 + [0] * 49 + [1e-5],
        "hist_ood": [0] * 45 + [0.1] * 10 + [0] * 45,
    }
    low, high = figures._limits([row])
    assert 38 <= low <= 40
    assert 55 <= high <= 57


def bands(figure):
    return sum(isinstance(item, FillBetweenPolyCollection) for axes in figure.axes for item in axes.collections)


def test_shots_draws_bands_for_several_seeds_only(metrics_of):
    several = figures.shots(one(metrics_of(methods=("zero_shot", "coop"))), "mcm")
    single = figures.shots(one(metrics_of(methods=("zero_shot", "coop"), seeds=(1,))), "mcm")
    assert bands(several) == 3
    assert bands(single) == 0


def test_shots_draws_zero_shot_as_a_level_and_the_others_at_their_shots(metrics):
    axes = figures.shots(one(metrics), "mcm").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    level = lines["Zero-shot"].get_ydata()
    assert level[0] == level[1]
    assert list(lines["Tip-Adapter"].get_xdata()) == [1, 2, 4, 8, 16]
    first = metrics.filter(pl.col("method") == "tip_adapter", pl.col("shots") == 1)["id_accuracy"]
    assert lines["Tip-Adapter"].get_ydata()[0] == pytest.approx(100 * first.mean(), abs=1e-12)


def test_a_single_number_of_shots_gives_points_of_auroc_over_accuracy(metrics_of):
    figure = figures.shots(one(metrics_of(shots=(16,))), "mcm")
    assert titles(figure) == ["Near OOD: mean AUROC (MCM), %", "Far OOD: mean AUROC (MCM), %"]
    assert "CoOp, 16 shots" in words(figure)
    assert "Zero-shot, 0" not in words(figure)
    assert figure.axes[0].get_xlabel() == "ID accuracy, %"


def test_scores_writes_every_mean_and_tells_a_skip_from_what_was_never_asked(metrics):
    figure = figures.scores(one(metrics))
    assert titles(figure) == ["Near OOD: mean AUROC, %", "Far OOD: mean AUROC, %"]
    texts = {
        (int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in figure.axes[1].texts
    }
    far = metrics.filter(pl.col("ood_kind") == "far", pl.col("method") == "zero_shot", pl.col("score") == "mcm")
    assert texts[0, 0] == f"{100 * far['auroc'].mean():.1f}"
    assert texts[3, 0] == "--"  # CoOp was skipped
    assert texts[0, 5] == ""  # KNN was never asked of zero-shot


NOTHING = "has a result that may be shown"


@pytest.mark.parametrize("why", ["all skipped", "all overlap", "covariate only"])
def test_nothing_to_show_is_said_in_the_figure(metrics_of, curves_of, why):
    overlaps = set()
    if why == "all skipped":
        metrics = metrics_of(methods=("zero_shot",), skip=lambda *_: "no text")
    elif why == "all overlap":
        metrics, overlaps = metrics_of(methods=("zero_shot",), sets={"far": ["x"]}), {("concepts", "x")}
    else:
        metrics = metrics_of(methods=("zero_shot",), sets={"covariate": ["x"]})
    rows, drawn = one(metrics, overlaps), one(curves_of(metrics), overlaps)
    assert NOTHING in words(figures.roc(drawn, "mcm"))
    assert NOTHING in words(figures.histograms(drawn, select.histogram_rows(rows, "mcm")))
    assert NOTHING in words(figures.scores(rows))
    assert "No curves over shots" in words(figures.shots(rows, "mcm"))


@pytest.mark.parametrize("count", [1, 2, 5, 8, 12])
def test_any_number_of_sets_fits_a_page(metrics_of, curves_of, count):
    metrics = metrics_of(methods=("zero_shot", "coop"), scores=("mcm", "msp"), shots=(4,), seeds=(1,),
                         sets={"near": [f"set-{number}" for number in range(count)]})  # fmt: skip
    rows, drawn = one(metrics), one(curves_of(metrics))
    for figure in (figures.roc(drawn, "mcm"), figures.histograms(drawn, select.histogram_rows(rows, "mcm"))):
        assert len(titles(figure)) == count
        width, height = figure.get_size_inches()
        assert width == (3.25 if count == 1 else 6.75)
        assert height < 9.2
        assert max(axes.get_subplotspec().get_gridspec().ncols for axes in figure.axes) <= 4


def test_panels_and_their_words_stay_inside_the_figure(metrics, curves):
    rows, drawn = one(metrics), one(curves)
    for figure in (
        figures.roc(drawn, "mcm"),
        figures.histograms(drawn, select.histogram_rows(rows, "mcm")),
        figures.shots(rows, "mcm"),
        figures.scores(rows),
    ):
        figure.draw_without_rendering()
        edge = figure.bbox.padded(1)
        for part in [*figure.axes, *figure.legends]:
            box = part.get_tightbbox()
            assert edge.x0 <= box.x0
            assert box.x1 <= edge.x1 + 8  # the last tick label may reach into the margin
            assert edge.y0 <= box.y0
            assert box.y1 <= edge.y1


@pytest.fixture(scope="module")
def written(metrics_of, curves_of, tmp_path_factory):
    """Two runs of one small experiment."""
    metrics = metrics_of(methods=("zero_shot", "coop"), scores=("mcm",), features=(), shots=(1, 4), seeds=(1, 2),
                         sets={"near": ["a"], "far": ["b", "textures"]})  # fmt: skip
    runs = [tmp_path_factory.mktemp("run") for _ in range(2)]
    for run in runs:
        figures.write_figures(metrics, curves_of(metrics), run.parent, run.name, OVERLAPS)
    return runs


def test_files_of_every_figure_and_the_same_bytes_again(written):
    first, second = written
    files = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert [path.as_posix() for path in files] == sorted(
        f"figures/tiny/concepts/{name}.{suffix}" for name in paths.FIGURES for suffix in paths.FORMATS
    )
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_files_carry_no_date_and_embed_true_type(written):
    folder = written[0] / "figures" / "tiny" / "concepts"
    pdf = (folder / "roc.pdf").read_bytes()
    assert b"CreationDate" not in pdf
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf
    assert b"dc:date" not in (folder / "roc.svg").read_bytes()
    png = (folder / "roc.png").read_bytes()
    assert b"Software" not in png
    assert int.from_bytes(png[16:20]) == round(6.75 * 200)


def test_the_users_own_matplotlib_settings_change_nothing(curves, tmp_path):
    import matplotlib

    curves = curves.filter(pl.col("ood_dataset") == "digits")
    canvas.save(figures.roc(one(curves), "mcm"), tmp_path / "plain")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "other"}):
        canvas.save(figures.roc(one(curves), "mcm"), tmp_path / "other")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    assert (tmp_path / "plain.svg").stat().st_size == (tmp_path / "other.svg").stat().st_size


def test_a_figure_that_cannot_be_written_leaves_the_old_file(curves, tmp_path, monkeypatch):
    (tmp_path / "roc.pdf").write_bytes(b"old")
    figure = figures.roc(one(curves), "mcm")
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        canvas.save(figure, tmp_path / "roc")
    assert [path.name for path in tmp_path.iterdir()] == ["roc.pdf"]
    assert (tmp_path / "roc.pdf").read_bytes() == b"old"


OWN = [name for name, entry in registry.entries("method").items() if entry.plugin is None]
MANY = [*OWN, *(f"coop@epochs={n}" for n in range(8)), "mine",
        "tip_adapter@alpha_start=10,alpha_steps=20,beta_start=50,beta_steps=200"]  # fmt: skip


@pytest.mark.parametrize("count", [3, 12, 30])
@pytest.mark.parametrize("shots", [(1, 16), (16,)])
def test_every_method_has_its_own_look_and_the_legend_fits(metrics_of, curves_of, count, shots):
    methods = [*MANY[-2:], *MANY][:count] if count < 30 else MANY
    metrics = metrics_of(methods=methods, shots=shots, seeds=(1,), scores=("mcm",), features=(),
                         sets={"near": ["a"], "far": ["b"]})  # fmt: skip
    rows, drawn = one(metrics), one(curves_of(metrics))
    for figure in (figures.roc(drawn, "mcm"), figures.shots(rows, "mcm")):
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1, "the legend is wider than the figure"
        assert box.y0 >= -1 and box.y1 < figure.axes[0].get_window_extent().y0, "the legend runs into the panels"
        assert min(axes.get_window_extent().height for axes in figure.axes) > 90, "the legend squeezes the panels"
        lines = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "|", "_", 2, 3)]
        marks = [(line.get_marker(), line.get_markerfacecolor() == "white") for line in lines]
        assert len(set(marks)) == len(marks)
