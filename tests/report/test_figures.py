from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from oodgrid import manifests, paths, registry
from oodgrid.look import COLOURS
from oodgrid.report import canvas, figures, names
from oodgrid.report.figures import chosen, forest, roc, scores, sets, study
from tests.report.synthetic import LONG, OWN, _curves, made, sized

STUDIES = {
    "smallest": {"methods": 1, "scores": 1, "sets": 1, "features": (), "shots": (16,)},
    "small": {"methods": 3, "scores": 7, "sets": 2, "shots": (1, 4, 16)},
    "real": {"methods": 7, "scores": 7, "sets": 5, "shots": (1, 2, 4, 8, 16)},
    "thirty": {"methods": 30, "scores": 5, "sets": 2, "shots": (16,), "seeds": (1,), "long_names": True},
    "large": {"methods": 20, "scores": 46, "sets": 8, "shots": (1, 16), "seeds": (1,)},
    "long names": {
        "methods": 12,
        "scores": 9,
        "sets": 8,
        "shots": (1, 16),
        "seeds": (1,),
        "long_names": True,
        "interplay": 0.5,
    },
}


def studies_of(study, overlaps=frozenset()):
    ranks = [manifests.Ranks(**each) for each in study.ranks]
    tables = study.metrics, study.curves, set(overlaps), study.summary, study.comparisons, ranks
    others = {name: getattr(study, name) for name in ("geometry", "temperatures", "grades")}
    return list(figures.studies(*tables, **others))


@cache
def one(name):
    """The study of the only pair of a made-up experiment."""
    ((_, study, _),) = studies_of(sized(**STUDIES[name]))
    return study


@cache
def drawn(name, figure, width=canvas.TEXT):
    """A figure with its layout solved."""
    return solved_of(figures.draw(figure, one(name), width))


def solved_of(figure):
    FigureCanvasAgg(figure)
    canvas.styled(figure.draw_without_rendering)()
    return figure


def words(figure):
    """All text of a figure in one string."""
    texts = (text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_visible())
    return " ".join(texts).replace("\n", " ")


def labels_in_view(axis):
    low, high = sorted(axis.get_view_interval())
    ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)
    return [label for place, label in ticks if low <= place <= high and label.get_text() and label.get_visible()]


def check_layout(figure):
    """Check that nothing reaches over the edges or into its neighbours, and that labels of ticks can be read."""
    edge, box = figure.bbox.padded(2.0), figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert edge.x0 <= box.x0 and box.x1 <= edge.x1, "something is beyond the left or right edge"
    assert edge.y0 <= box.y0 and box.y1 <= edge.y1, "something is beyond the lower or upper edge"
    below = [*figure.legends, *filter(None, [getattr(figure, "_supxlabel", None)])]
    tops = [part.get_window_extent().y1 for part in below]
    panels = [axes.get_tightbbox().y0 for axes in figure.axes]
    assert not tops or not panels or max(tops) <= min(panels) + 1, "the legend runs into the panels"
    assert len(below) <= 1, "a note and a legend would overlap"
    assert figure.get_figheight() <= canvas.TALLEST + 0.3, "higher than a page"
    for axes in (axes for axes in figure.axes if axes.get_label() != "<colorbar>"):
        assert min(axes.get_window_extent().size) > 15, "a panel is squeezed"
        for axis in (axes.xaxis, axes.yaxis):
            shown = [label for label in labels_in_view(axis) if label.get_rotation() % 90 == 0]
            boxes = [label.get_window_extent() for label in shown]
            for first, second in pairwise(boxes):
                overlap = [min(first.x1, second.x1) - max(first.x0, second.x0),
                           min(first.y1, second.y1) - max(first.y0, second.y0)]  # fmt: skip
                assert min(overlap) < 1.5, f"labels overlap: {[label.get_text() for label in shown]}"


# Each figure in both widths of a small study, and where names are long and many in the width that is harder.
EVERY = (*paths.FIGURES, "temperature", "grades")
CASES = [("small", figure, width) for figure in EVERY for width in canvas.WIDTHS.values()]
CASES += [("smallest", figure, canvas.COLUMN) for figure in ("forest", "scores", "sets")]
CASES += [("long names", figure, canvas.TEXT) for figure in ("shots", "roc")]
CASES += [("long names", figure, canvas.COLUMN) for figure in ("forest", "scores", "accuracy", "sets", "histograms")]
CASES += [("long names", figure, canvas.COLUMN) for figure in ("geometry", "temperature")]
CASES += [("large", figure, canvas.COLUMN) for figure in ("forest_scores", "scores", "geometry", "temperature")]
CASES += [
    ("thirty", "scores", canvas.COLUMN),
    ("large", "scores", canvas.TEXT),
    ("long names", "grades", canvas.COLUMN),
]


@pytest.mark.parametrize(("name", "figure", "width"), CASES)
def test_layout(name, figure, width):
    solved = drawn(name, figure, width)
    assert solved.get_figwidth() == width
    check_layout(solved)


def test_layouts_are_solved_at_the_dots_by_which_figures_are_saved():
    solved, saved = canvas.styled(lambda: [matplotlib.rcParams[f"{name}.dpi"] for name in ("figure", "savefig")])()
    assert solved == saved  # small letters have other widths on other dots, and would reach over the edge


def test_estimates_are_drawn_against_the_truth_by_their_share_of_ood():
    rng, pair = np.random.default_rng(0), one("small")
    truth = pl.DataFrame({"share": np.repeat([0.05, 0.2, 0.5], 400), "true_auroc": rng.uniform(0.4, 1, size=1200)})
    frame = truth.with_columns(unmixed_auroc=truth["true_auroc"] - 0.1, regression_auroc=truth["true_auroc"])
    errors = [manifests.EstimateError(rate="auroc", estimator="unmixed", by="share", low=0.5, high=0.5, rows=9, sets=3,
                                      bias=0.0, mae=0.0, rmse=0.123, within95=0.2)]  # fmt: skip
    for width in canvas.WIDTHS.values():
        tried = replace(pair, estimates=frame, estimate_errors=errors)
        solved = solved_of(figures.draw("estimate", tried, width))
        assert solved.get_figwidth() == width
        check_layout(solved)
        unmixed, by_line = ([line for line in axes.lines if line.get_marker() == "o"] for axes in solved.axes)
        assert sum(len(line.get_xdata()) for line in unmixed) == 700
        assert all(np.allclose(line.get_ydata(), line.get_xdata() - 10) for line in unmixed)
        assert all(np.allclose(line.get_ydata(), line.get_xdata()) for line in by_line)
        assert "12.3 at 50 % OOD" in words(solved) and "700 of 1200 dots" in words(solved)
    assert "No estimates" in words(figures.draw("estimate", pair))


def test_ranks_and_means_over_id_sets_are_drawn_once_a_backbone():
    study = made(OWN[:5], ("mcm",), (), id_datasets=[f"set-{n}" for n in range(10)], shots=(4,), seeds=(1,))
    folders = {folder.as_posix(): (pair, named) for folder, pair, named in studies_of(study)}
    assert len(folders) == 11
    mean, named = folders["tiny"]
    assert named == (*paths.MEAN_FIGURES, "ranks")
    for figure in ("ranks", "forest"):
        for width in canvas.WIDTHS.values():
            solved = figures.draw(figure, mean, width)
            FigureCanvasAgg(solved)
            solved.draw_without_rendering()
            check_layout(solved)
    assert "Zero-shot · MCM" in words(figures.draw("ranks", mean))
    assert "needs the results of ten ID datasets" in words(figures.draw("ranks", folders["tiny/set-0"][0]))


# --------------------------------------------------------------------------------------------- what figures say


def test_forest_is_sorted_and_draws_the_intervals_of_the_summary():
    pair = one("real")
    pairs = pair.best_of("method")
    assert len(pairs) == 8  # seven methods, and the scores that depend on none
    overall = pair.rows("overall")
    means = [overall[each]["mean"] for each in pairs]
    assert means == sorted(means, reverse=True)
    near = drawn("real", "forest").axes[0]
    ends = [line.get_xdata() for line in near.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 0.8]
    expected = [[100 * pair.rows("near")[each][end] for end in ("lo", "hi")] for each in pairs]
    assert np.array(ends) == pytest.approx(np.array(expected))
    filled = [line for line in near.lines if line.get_marker() == "o" and line.get_markerfacecolor() == forest.WITHIN]
    assert len(filled) == len(pair.best_set("near") & set(pairs)) > 0


def test_the_heat_map_writes_the_numbers_that_can_be_read_on_one_scale():
    pair, solved = one("real"), drawn("real", "scores")
    maps = [axes for axes in solved.axes if axes.images]
    assert len({(image.norm.vmin, image.norm.vmax) for axes in maps for image in axes.images}) == 1
    assert len(maps) == 4  # near and far, and the strip of each
    written = sorted(text.get_text() for text in maps[0].texts)
    near = pair.rows("near").items()
    assert written == sorted(f"{100 * row['mean']:.1f}" for (method, _), row in near if method != "any")
    assert not drawn("large", "scores").axes[0].texts  # 40 columns leave no room
    assert "otted" in words(drawn("large", "scores"))


@pytest.mark.parametrize("width", canvas.WIDTHS.values())
@pytest.mark.parametrize("methods", [3, 30])
def test_what_scores_of_features_are_the_same_for_is_said_and_stands_clear(methods, width):
    """With one method that changes features, and so has rows of its own under the same scores, with long names."""
    features = [f"{name}-{LONG}"[:60] for name in ("first", "second")]
    study = sized(methods, 5 + len(features), 2, methods == 30, features, shots=(16,), seeds=(1,))
    if methods == 30:  # in a study of three its rows would be the whole map
        own = made([f"{LONG[:58]}01"], features, (), ("near-0",), ("far-0",), (16,), (1,))
        study = replace(study, summary=pl.concat([study.summary, own.summary], how="vertical_relaxed"))
    ((_, pair, _),) = studies_of(study)
    solved = solved_of(figures.draw("scores", pair, width))
    check_layout(solved)
    said = [axes.xaxis.label for axes in solved.axes if axes.images and axes.get_xlabel()]
    assert len(said) == (2 if width > canvas.COLUMN else 1)
    assert {" ".join(label.get_text().split()) for label in said} == {scores.OF_ANY}
    boxes = [label.get_window_extent() for label in said]
    assert all(first.x1 < second.x0 for first, second in pairwise(boxes))
    assert all(solved.bbox.x0 <= box.x0 and box.x1 <= solved.bbox.x1 for box in boxes)
    assert min(box.y0 for box in boxes) > solved._supxlabel.get_window_extent().y1 - 1
    strips = [axes for axes in solved.axes if axes.images and axes.get_xlabel()]
    assert all(box.y1 <= axes.get_window_extent().y0 for box, axes in zip(boxes, strips, strict=True))


def test_a_score_far_below_the_others_does_not_stretch_the_scale():
    from oodgrid.report.figures.scores import _scale

    scale, extend = _scale([0.90 + 0.001 * n for n in range(60)] + [0.2])
    assert scale.vmin > 70 and extend == "min"
    assert _scale([0.90, 0.95])[1] == "neither"


def test_shots_has_a_panel_a_method_that_learns_with_its_two_lines_named():
    solved = drawn("real", "shots")
    assert [axes.get_title() for axes in solved.axes] == [
        names.Legend.of(sized(**STUDIES["real"]).metrics).methods[method] for method in OWN[1:7]
    ]
    for axes in solved.axes:
        assert sorted(text.get_text() for text in axes.texts) == ["far", "near"]
        colours = [line.get_color() for line in axes.lines]
        assert colours.count(canvas.OTHERS) == 10  # two lines of each of the five others
    assert "one number of shots" in words(drawn("smallest", "shots"))


def test_curves_are_of_the_most_accurate_fit_and_no_ood_result_chooses_it():
    study = sized(**STUDIES["real"])
    ((_, pair, _),) = studies_of(study)
    accurate = study.summary.filter("largest", metric="id_accuracy").sort("mean")["method"][-1]
    assert chosen.curves_of(pair)[0] == (accurate, "mcm")
    worse = study.summary.with_columns(
        mean=pl.when(pl.col("metric") == "id_accuracy").then("mean").otherwise(1 - pl.col("mean"))
    )
    ((_, turned, _),) = list(figures.studies(study.metrics, study.curves, set(), worse, study.comparisons))
    assert chosen.curves_of(turned)[0] == (accurate, "mcm")
    for figure in ("roc", "histograms"):
        assert "most accurate on ID" in words(drawn("real", figure))


@pytest.mark.parametrize("seed", [0, 2, 3, 5])
def test_the_forest_shows_what_its_rows_are_held_against(seed):
    """Of many scores the best of near is seldom any method's best overall."""
    ((_, pair, _),) = studies_of(sized(5, 24, 4, seed=seed, seeds=(1,), shots=(16,), interplay=0.5))
    best = {kind: pair.compared("best", kind).filter("is_best").select("method", "score").row(0) for kind in pair.kinds}
    for what in ("method", "score"):
        rows = pair.best_of(what)
        shown, added, fewer = forest._with_best(pair, rows)
        assert set(shown) == {*rows, *best.values()} and fewer == 0
        assert len(added) == len(set(best.values()) - set(rows)) >= (what == "method")
        overall = [pair.rows("overall")[row]["mean"] for row in shown]
        assert overall == sorted(overall, reverse=True)
        solved = figures.draw("forest" if what == "method" else "forest_scores", pair)
        for axes, kind in zip(solved.axes, pair.kinds, strict=True):
            dots = {line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"}
            assert max(dots) == pytest.approx(100 * pair.rows(kind)[best[kind]]["mean"])
        assert ("Also the best of all rows" in words(solved)) == bool(added)


def test_a_page_of_forest_has_room_for_the_best(monkeypatch):
    monkeypatch.setattr(forest, "MOST", 4)
    ((_, pair, _),) = studies_of(sized(6, 24, 4, seed=1, seeds=(1,), shots=(16,), interplay=0.5))
    rows = pair.best_of("method")
    shown, added, fewer = forest._with_best(pair, rows)
    best = {pair.compared("best", kind).filter("is_best").select("method", "score").row(0) for kind in pair.kinds}
    assert len(shown) == 4 and best <= set(shown)
    assert fewer == len(rows) + len(added) - 4
    assert f"{fewer} lower rows are left out" in words(figures.draw("forest", pair))


@pytest.mark.parametrize(("asked", "drawn_pair"), [
    (("coop", "msp"), ("coop", "msp")), (("coop", None), ("coop", "mcm")), (("any", None), ("any", "knn")),
])  # fmt: skip
def test_curves_are_those_that_the_config_asks_for(asked, drawn_pair):
    study = made(scores=("mcm", "msp"))
    study = study.curves.vstack(_curves(study.metrics.filter(method="any"))), study
    ((_, pair, _),) = list(figures.studies(study[1].metrics, study[0], set(), curves_wanted=asked))
    assert chosen.curves_of(pair)[0] == drawn_pair
    for figure in ("roc", "histograms"):
        assert f"{pair.title(drawn_pair)}, chosen in the config" in words(figures.draw(figure, pair))


def test_curves_that_are_asked_for_and_are_not_there_are_named():
    study = made()
    without = study.curves.filter(pl.col("method") != "coop")
    for asked in (("coop", "mcm"), ("coop", None)):
        ((_, pair, _),) = list(figures.studies(study.metrics, without, set(), curves_wanted=asked))
        for figure in ("roc", "histograms"):
            assert "CoOp under MCM, which the config asks for, has no result" in words(figures.draw(figure, pair))


def test_scores_that_are_one_function_of_temperature_share_a_column_with_both_defaults():
    pair, solved = one("real"), drawn("real", "temperature")
    assert [axes.get_title() for axes in solved.axes if axes.get_title()] == ["MCM, MSP", "Energy", "Entropy"]
    near = solved.axes[0]
    dotted = sorted(
        line.get_xdata()[0] for line in near.lines if line.get_linestyle() == ":" and len(line.get_xdata()) == 2
    )
    assert dotted == [0.01, 1.0]
    rows = pair.temperatures.filter(method="coop", curve="mcm", scope="near").sort("T")
    lines = [np.asarray(line.get_ydata()) for line in near.lines if len(line.get_xdata()) == len(rows)]
    assert any(np.allclose(line, 100 * rows["auroc"]) for line in lines)
    text = words(solved)
    assert "oracle" in text and "3.0 points at most" in text


def test_past_six_methods_the_others_are_grey_and_said():
    methods = drawn("long names", "temperature")
    grey = [line for line in methods.axes[0].lines if line.get_color() == canvas.OTHERS]
    assert len(grey) == 12 - 1 - 6 and "other methods" in words(methods)


def test_angles_are_drawn_from_before_to_after_and_what_does_not_move_is_named():
    pair, solved = one("real"), drawn("real", "geometry")
    prototypes, means = solved.axes[:4], solved.axes[4:]
    assert [axes.get_title().replace("\n", " ") for axes in prototypes] == [
        "Dispersion", "Compactness", "Separation near", "Separation far"
    ]  # fmt: skip
    near = pair.geometry.filter(centres="prototypes", scope="near", status="ok")
    moved = near.filter(pl.col("method") != "zero_shot").sort("separation", descending=True)
    for axes, column, sign in zip(prototypes, ("dispersion", "compactness", "separation"), (1, -1, 1), strict=False):
        start = near.filter(method="zero_shot")[column].item()
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert [line.get_xdata()[0] for line in dots] == moved[column].to_list()
        better = [line.get_markerfacecolor() != "white" for line in dots]
        assert better == [sign * (angle - start) > 0 for angle in moved[column]]
    assert [label.get_text() for label in means[0].get_yticklabels()] == ["CLIP-Adapter"]
    assert "Without features or prototypes of their own: Tip-Adapter, Tip-Adapter-F" in words(solved)


def with_angles(geometry):
    """Return the figure of other angles, and of each panel the colours of its dots by method."""
    pair = replace(one("real"), geometry=geometry)
    figure = figures.draw("geometry", pair)
    methods = {title: name for name, title in pair.legend.methods.items()}
    colours, rows = [], []
    for axes in figure.axes:
        rows = [methods[label.get_text()] for label in axes.get_yticklabels()] or rows  # once for a block
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        colours.append({rows[round(line.get_ydata()[0])]: line.get_color() for line in dots})
    return figure, colours


def test_angles_that_did_not_move_are_grey():
    geometry = one("real").geometry
    start = geometry.filter(method="zero_shot", centres="prototypes", scope="near")["dispersion"].item()
    of_adapter = (pl.col("method") == "clip_adapter") & (pl.col("centres") == "prototypes")
    nearly = pl.lit(start) + 1e-12
    figure, (dispersion, compactness, *_) = with_angles(
        geometry.with_columns(pl.when(of_adapter).then(nearly).otherwise("dispersion").alias("dispersion"))
    )
    assert [name for name, colour in dispersion.items() if colour == names.GREY] == ["clip_adapter"]
    assert names.GREY not in compactness.values()
    assert "as before" in words(figure) and "before: zero-shot" in words(figure)
    assert "as before" not in words(drawn("real", "geometry"))


@pytest.mark.parametrize("lacking", [["zero_shot"], ["zero_shot", "any"]])
def test_angles_with_nothing_before_are_neither_better_nor_worse(lacking):
    figure, colours = with_angles(one("real").geometry.filter(~pl.col("method").is_in(lacking)))
    assert all(set(each.values()) == {names.GREY} for each in (colours if "any" in lacking else colours[:4]))
    text = words(figure)
    assert "nothing before" in text
    assert ("before: zero-shot" in text) == ("better" in text) == ("any" not in lacking)


@pytest.mark.parametrize("scope", ["covariate", "set"])
def test_without_near_or_far_sets_the_angles_of_id_are_still_drawn_and_the_figure_says_what_lacks(scope):
    others = one("real").geometry.with_columns(scope=pl.when(pl.col("scope") == "near").then(pl.lit(scope)))
    geometry = others.filter((pl.col("scope") == scope) | (pl.col("status") != "ok"))
    figure, colours = with_angles(geometry)
    check_layout(solved_of(figure))
    assert [axes.get_title() for axes in figure.axes[:2]] == ["Dispersion", "Compactness"] and len(figure.axes) == 4
    whole = with_angles(one("real").geometry)[1]
    assert [colours[0], colours[1]] == whole[:2]
    assert f"No separation: {study.NOTHING}" in words(figure) and "nearest centre" not in words(figure)


def test_why_there_are_no_angles():
    geometry = one("real").geometry
    none = figures.draw("geometry", replace(one("real"), geometry=geometry.filter(status="skipped")))
    assert "no method has prototypes of its own" in words(none)
    assert "--forcerun score" in words(figures.draw("geometry", replace(one("real"), geometry=geometry.clear())))


def test_no_figure_shows_a_set_that_overlaps():
    study = made(near=("unseen",), far=("digits", "textures"))
    ((_, pair, _),) = studies_of(study, {("concepts", "textures")})
    for figure in ("sets", "roc", "histograms"):
        text = words(figures.draw(figure, pair))
        assert "digits" in text and "textures" not in text


def test_perfect_detection_stands_at_the_end_of_the_axis_and_no_marker_piles_up():
    ((_, pair, _),) = studies_of(made(perfect=("digits",)))
    dots = figures.draw("sets", pair).axes[0]
    assert (
        min(min(line.get_xdata()) for line in dots.lines if line.get_marker() not in ("None", "")) > dots.get_xlim()[0]
    )
    assert dots.get_xticklabels()[0].get_text().startswith("<")
    heights = [line.get_ydata()[0] for line in dots.lines if line.get_marker() not in ("None", "")]
    assert len(set(np.round(heights, 6))) == len(heights)
    marked = [line for line in figures.draw("roc", pair).axes[1].lines if line.get_marker() == "o"]
    assert not marked


def test_the_axis_of_rates_starts_where_its_dots_do_unless_some_stand_below_it():
    ((_, pair, _),) = studies_of(made())
    axes = figures.draw("sets", pair).axes[0]
    lowest = min(min(line.get_xdata()) for line in axes.lines if line.get_marker() not in ("None", ""))
    assert not axes.get_xticklabels()[0].get_text().startswith("<")
    assert 0.4 * sets._lowest_decade([lowest / 100]) < axes.get_xlim()[0] < lowest
    assert sum(axes.get_xlim()[0] <= tick <= 100 for tick in axes.get_xticks()) >= 2


@pytest.mark.parametrize(("rates", "lowest"), [([0.3, 0.02], 1), ([0.0], 1.0), ([0.00004, 0.5], 0.01), ([0.9], 10)])
def test_lowest_decade(rates, lowest):
    assert sets._lowest_decade(rates) == pytest.approx(lowest)


def test_roc_of_tied_scores_is_the_chance_line_on_the_log_axis_too():
    fpr, tpr = roc.on_log_axis(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert tpr == pytest.approx(fpr)
    assert fpr[0] == pytest.approx(roc.LOWEST_FPR)


@pytest.mark.parametrize("figure", EVERY)
def test_nothing_to_show_is_said_in_the_figure(figure):
    study = made()
    nothing = [frame.clear() for frame in (study.summary, study.comparisons)]
    skipped = study.metrics.with_columns(status=pl.lit("skipped"))
    ((_, pair, _),) = list(figures.studies(skipped, study.curves.clear(), set(), *nothing))
    assert "No " in words(figures.draw(figure, pair, canvas.COLUMN))


@pytest.mark.parametrize("width", canvas.WIDTHS.values())
@pytest.mark.parametrize("figure", paths.MEAN_FIGURES)
def test_id_sets_of_which_one_has_near_and_another_far_sets_have_a_mean_over_both_kinds(figure, width):
    """No kind has a mean over all ID sets then, and the mean of all their OOD sets is what there is."""
    study = made(id_datasets=("concepts", "digits"))
    summary, comparisons = (
        frame.filter(pl.col("id_dataset").is_not_null() | ~pl.col("scope").is_in(["near", "far"]))
        for frame in (study.summary, study.comparisons)
    )
    *_, (_, mean, _) = figures.studies(study.metrics, study.curves, set(), summary, comparisons)
    assert mean.kinds == ["overall"]
    shown = words(figures.draw(figure, mean, width))
    assert ("Near and far OOD" in shown) == (figure != "shots") and ("No " in shown) == (figure == "shots"), shown


def test_results_without_means_have_roc_curves_and_histograms_and_say_what_the_others_need():
    study = made()
    ((_, pair, _),) = list(figures.studies(study.metrics, study.curves, set()))
    for name in paths.FIGURES:
        text = words(figures.draw(name, pair))
        assert ("--forcerun evaluate" in text) == (name not in figures.WITHOUT_MEANS)
    assert "Zero-shot · MCM" in words(figures.draw("roc", pair))


# ------------------------------------------------------------------------------------------- names and colours


STRANGE = ["深度学习", "طريقة", "Метод", "ไทย", "हिन्दी", "a$b$c_{x}", "naïve", "\U0001f98a"]


def test_letters_without_a_font_are_spelt_and_said_once(capsys):
    names = ["zero_shot", *STRANGE]
    study = made(names, ["mcm", "深"], (), ("near",), (STRANGE[1],), (1,), (1,))
    assert canvas.missing(canvas.printable(name) for name in STRANGE) == ""
    assert canvas.printable("Метод") == "Метод" and canvas.printable("a$b$c_{x}") == "a$b$c_{x}"
    shown = figures.draw("forest", studies_of(study)[0][1])
    texts = [text.get_text() for text in shown.findobj(matplotlib.text.Text)]
    assert not canvas.missing(texts) and any("طريقة" in text for text in texts)
    figures._tell_letters(study.metrics)
    figures._tell_letters(study.metrics.filter(method="zero_shot", score="mcm", ood_dataset="near"))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == (len(canvas.missing(STRANGE)) > 0)


@pytest.mark.parametrize("inches", [0.6, 1.1])
def test_a_label_that_is_cut_keeps_its_method_and_its_score(inches):
    texts = [f"Method {LONG}{m}{canvas.BETWEEN}Score {LONG}{s}" for m in range(3) for s in range(3)]
    labels = canvas.stacked(texts, inches, 6.5, most=24)
    assert len(set(labels)) == 9 and all(label.count("\n") == 1 for label in labels)
    assert all(canvas.width_of(line, 6.5) <= inches for label in labels for line in label.split("\n"))
    assert canvas.stacked(["A · b"], 2.0, 6.5, most=24) == ["A · b"]
    assert not any("\n" in label for label in canvas.stacked(texts, inches, 6.5, most=8))


@pytest.mark.parametrize("inches", [0.3, 0.8, 2.0])
def test_names_that_are_shortened_fit_and_stay_apart(inches):
    texts = ["MCM", "MCM", *(f"{LONG}{number}{LONG}" for number in range(12)), "配準" * 10, "W" * 80]
    short = canvas.fit(texts, inches, 7.0)
    assert short[0] == short[1]
    assert len(set(short)) == len(set(texts))
    if inches > 0.5:
        assert max(canvas.width_of(text, 7.0) for text in short) <= inches + 1e-9
    assert canvas.shorten("MCM", 2.0, 7.0) == "MCM"


# Machado, Oliveira & Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009), table
# of severity 1.0, applied to linear RGB.
VISION = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    "all cones": np.eye(3).tolist(),
}
# IEC 61966-2-1: linear sRGB to XYZ, and its white.
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
WHITE = [0.95047, 1.0, 1.08883]


def seen(colour, vision):
    """Return a colour in CIE L*a*b* as such eyes see it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = np.array(XYZ) @ np.clip(np.array(VISION[vision]) @ linear, 0, 1) / WHITE
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart_by_every_eye(vision):
    """2.3 is just noticeable side by side; 15 is told apart in thin lines that lie apart."""
    for first, second in combinations([*COLOURS.values(), "#FFFFFF"], 2):
        assert np.linalg.norm(seen(first, vision) - seen(second, vision)) > 15, (first, second)
    shades = [matplotlib.colormaps["Blues"](value) for value in np.linspace(0, 1, 12)]
    light = [seen(shade, vision)[0] for shade in shades]
    assert all(after < before - 1 for before, after in pairwise(light)), "the heat map does not darken steadily"


@pytest.mark.parametrize("methods", [OWN, ["zero_shot", *(f"coop@epochs={n}" for n in range(24)), "mine"]])
def test_no_two_methods_look_alike(methods):
    looks = list(names.Legend.of(pl.DataFrame({"method": methods, "score": "mcm"})).looks.values())
    marks = [look.mark for look in looks]
    assert len(set(marks)) == len(marks)
    assert len({(look.colour, look.line) for look in looks}) == len(looks)


# --------------------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two runs of one small experiment, the second in column width only."""
    study = sized(**STUDIES["small"])
    tables = {name: getattr(study, name) for name in ("summary", "comparisons", "geometry", "temperatures", "grades")}
    runs = [tmp_path_factory.mktemp("run") for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        for run in runs:
            figures.write_figures(study.metrics, study.curves, run.parent, run.name, set(), **tables)
            patch.setattr(canvas, "WIDTHS", {"-column": canvas.COLUMN})
    return runs


def test_files_of_every_figure_and_the_same_bytes_again(written):
    first, second = written
    files, again = (sorted(path.relative_to(run) for path in run.rglob("*.*")) for run in written)
    assert [path.as_posix() for path in files] == sorted(
        f"figures/tiny/concepts/{name}{width}.{suffix}"
        for name in EVERY for width in paths.WIDTHS for suffix in paths.FORMATS
    )  # fmt: skip
    assert len(again) == len(files) / 2
    for file in again:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


@pytest.mark.parametrize("width", paths.WIDTHS)
def test_files_carry_no_date_and_embed_true_type(written, width):
    for name in EVERY:
        stem = written[0] / "figures" / "tiny" / "concepts" / f"{name}{width}"
        pdf, svg, png = (stem.with_name(f"{stem.name}.{suffix}").read_bytes() for suffix in paths.FORMATS)
        assert b"CreationDate" not in pdf
        assert b"/Type3" not in pdf
        assert b"/FontFile2" in pdf
        assert b"dc:date" not in svg
        assert b"Software" not in png
        assert int.from_bytes(png[16:20]) == round(canvas.WIDTHS[width] * 200)


def test_the_users_own_matplotlib_settings_change_nothing(tmp_path):
    pair = one("small")
    canvas.save(figures.draw("forest", pair), tmp_path / "plain")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "other"}):
        canvas.save(figures.draw("forest", pair), tmp_path / "other")
    for suffix in paths.FORMATS:
        assert (tmp_path / f"plain.{suffix}").read_bytes() == (tmp_path / f"other.{suffix}").read_bytes()


def test_a_figure_that_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "roc.pdf").write_bytes(b"old")
    figure = figures.draw("roc", one("small"))
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        canvas.save(figure, tmp_path / "roc")
    assert [path.name for path in tmp_path.iterdir()] == ["roc.pdf"]
    assert (tmp_path / "roc.pdf").read_bytes() == b"old"


def test_every_listed_figure_has_a_module_that_says_its_question():
    for name in (*EVERY, *paths.RANK_FIGURES):
        module = figures.import_module(f"oodgrid.report.figures.{name}")
        assert "?" in module.__doc__.splitlines()[0], name
    assert set(paths.WIDTHS) == set(canvas.WIDTHS)
    assert study.OVERALL not in registry.entries("method")
