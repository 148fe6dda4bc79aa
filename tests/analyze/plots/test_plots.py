"""The figures: what they compute against the definitions, and what a reader gets to see."""

import ast
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from analyze_runs import write_run, write_study
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats
from small_runs import ROOT

from analyze import plots
from analyze.comparison.report import build_report
from analyze.metrics.calibration import metrics
from analyze.metrics.table import PRIMARY
from analyze.plots import multiples, render
from analyze.plots.figures import classes, training
from analyze.plots.figures.reliability import calibrated_band, wilson
from analyze.plots.style import AT_HOME, PALETTE, styled, wrapped
from analyze.runs import archive, reduced
from analyze.runs.purposes import PURPOSES

LOSSES = {
    "ce": {"scale": 2.0, "n": 150, "classes": 5},
    "focal:gamma=3": {"signal": 3.6, "n": 150, "classes": 5},
    "hinge": {"scale": 0.3, "n": 150, "classes": 5},
}
HOSTILE = ("<script>alert(1)</script>", "$x_1^2$ & _y_", "tversky:alpha=0.7,beta=0.3+0.25*ce" * 3)
KINDS = [
    *("forest", "error-ece", "reliability", "decomposition", "nll-temperature", "ece-bins"),
    *("risk-coverage", "confidence", "classes", "training"),
    *("errors-found", "recalibrations"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_study(root, LOSSES, range(3))
    return build_report([root])


@pytest.fixture(scope="module")
def shown(report):
    return {figure.name: figure for figure in plots.list_figures(report)}


@pytest.fixture(scope="module")
def drawings(shown):
    return {name: figure.svg() for name, figure in shown.items()}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Losses of odd names with one seed, binary, without history."""
    root = tmp_path_factory.mktemp("hostile")
    names = ["ce", *HOSTILE, "focal:gamma=1", "focal:gamma=2"]
    losses = {
        name: {"n": 60, "classes": 2, "scale": 0.5 + 0.2 * i} for i, name in enumerate(names)
    }
    for folder in write_study(root, losses, [0]):
        (folder / "metrics.jsonl").unlink()
    return build_report([root])


@pytest.fixture(scope="module")
def one(report):
    return next(plots.groups(report))


def words(svg):
    """What a reader can read in an SVG, line by line."""
    return [
        text.text or "" for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


# --- colours


def luminance(colour):
    value = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear, float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_colours_stand_out_on_white_and_on_dark(background):
    for colour in PALETTE:
        light, dark = sorted((luminance(colour)[1], luminance(background)[1]), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


# Machado, Oliveira & Fernandes 2009, severity 1: linear RGB as seen without one kind of cone.
SIGHT = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
OKABE_ITO = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7"),
    *("#56B4E9", "#D55E00", "#F0E442", "#000000"),
)


def closest_pair(colours, sight):
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.793617785, -0.0040720468],
            [1.9779984951, -2.428592205, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.808675766],
        ]
    )
    seen = np.clip(np.array([luminance(c)[0] for c in colours]) @ np.transpose(SIGHT[sight]), 0, 1)
    points = np.cbrt(seen @ cones.T) @ lab.T
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    return distance[np.triu_indices(len(colours), 1)].min()


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_differ_for_every_kind_of_sight(sight):
    # better than the usual palette at its worst, although these have to be readable on dark too
    assert closest_pair(PALETTE, sight) > 0.095
    assert min(closest_pair(OKABE_ITO, other) for other in SIGHT) < 0.08


def test_a_known_loss_keeps_its_colour_and_no_two_losses_look_the_same():
    many = plots.styles([*AT_HOME, *HOSTILE, "dice"])
    assert len(set(many.values())) == len(many) == 12
    few = plots.colours(["hinge", "zzz", "ce"])
    eight = plots.styles(AT_HOME)
    assert len({style.colour for style in eight.values()}) == 8
    for loss in ("hinge", "ce"):
        assert few[loss] == eight[loss].colour
    assert plots.colours(["focal:gamma=3"])["focal:gamma=3"] == eight["focal"].colour


def test_above_eight_losses_the_colour_is_that_of_the_purpose():
    many = plots.styles(name for names in PURPOSES.values() for name in names)
    assert len(set(many.values())) == len(many) > 30
    for names in PURPOSES.values():
        assert len({many[name].colour for name in names}) == 1
    assert len({style.colour for style in many.values()}) == len(PURPOSES)
    assert plots.colours(["b", "a"]) == plots.colours(["a", "b", "a"])


def test_long_names_are_wrapped_and_cut():
    text = wrapped("my_package.losses:" + "x" * 200, 20, 2)
    assert [len(line) <= 20 for line in text.split("\n")] == [True, True]
    assert text.endswith("…")
    assert wrapped("ce", 20) == "ce"


# --- numbers


def test_a_runs_bins_give_its_ece(one):
    for run in one.runs["hinge"]:
        for stage, suffix in ((run.before, ""), (run.after, "_ts")):
            count, confidence, right = stage.bins.reshape(3, 15, 2).sum(axis=2)
            assert count.sum() == 150
            found = np.abs(confidence - right).sum() / 150
            assert found == pytest.approx(run.metrics[f"ece{suffix}"])
            assert stage.ece[2] == pytest.approx(found)
            assert stage.null_ece[2] == pytest.approx(run.metrics[f"null_ece{suffix}"], rel=0.25)


def test_pooling_counts_the_examples_of_one_seed(one):
    bins = multiples.pooled(one, "ce", "before")
    assert bins.examples.sum() == pytest.approx(150)
    accuracy = one.values("ce", "accuracy").mean()
    assert np.nansum(bins.examples * bins.accuracy) / 150 == pytest.approx(accuracy)


def test_wilson_is_scipys():
    for hits, n in ((0, 5), (3, 9), (50, 50), (700, 1000)):
        expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
        found = wilson(np.array([hits / n]), np.array([float(n)]))
        assert np.ravel(found) == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_calibrated_models_fall_into_their_band():
    rng = np.random.default_rng(0)
    for n, p in ((10, 0.9), (80, 0.5), (1000, 0.97)):
        low, high = calibrated_band(np.array([p]), np.array([float(n)]))
        inside = (draws := rng.binomial(n, p, 20_000) / n) >= low[0] - 1e-9
        inside &= draws <= high[0] + 1e-9
        assert 0.94 < inside.mean() <= 1
        # tight: without its ends the band would miss more than it may
        assert np.mean((draws > low[0]) & (draws < high[0])) < 0.97


def test_curves_agree_with_the_metrics(one):
    run = one.runs["focal:gamma=3"][1]
    assert run.risk[-1] == pytest.approx(1 - run.metrics["accuracy"])
    assert run.risk[int(0.8 * reduced.POINTS) - 1] == pytest.approx(run.metrics["risk_at_80"])
    arrays = np.load(run.run.path / "predictions.npz")
    for place in (0, 13, 40):
        expected = metrics(
            arrays["test_logits"],
            arrays["test_targets"],
            names=("nll",),
            temperature=reduced.TEMPERATURES[place],
        )
        assert run.nll[place] == pytest.approx(expected["nll"])


def test_classes_add_up_to_the_whole(one):
    counts = np.array([run.targets[0] for run in one.runs["ce"]]).sum(axis=0)
    errors = classes.class_errors(one)[0]
    assert (errors * counts).sum() / counts.sum() == pytest.approx(
        1 - one.values("ce", "accuracy").mean()
    )
    predicted = np.array([run.after.predicted[0] for run in one.runs["ce"]]).sum(axis=0)
    gaps = classes.class_gaps(one, "after")[0]
    assert (gaps * predicted).sum() / predicted.sum() == pytest.approx(
        one.values("ce", "signed_gap_ts").mean()
    )


def test_figures_read_no_predictions(report, monkeypatch):
    monkeypatch.setattr(archive, "load_arrays", None)
    assert len(plots.list_figures(report)) == len(KINDS)


def test_long_histories_are_thinned_and_broken_values_left_out(tmp_path):
    for folder in write_study(tmp_path, {"ce": {"n": 40}}, range(2)):
        lines = [f'{{"epoch": {e}, "val/nll": {1 / e}}}' for e in range(1, 1001)]
        lines[499] = '{"epoch": 500, "val/nll": null}'
        (folder / "metrics.jsonl").write_text("\n".join(lines))
    ours = next(plots.groups(build_report([tmp_path])))
    epochs, values = training._history(ours.runs["ce"], "val/nll")
    assert values.shape == (2, len(epochs)) == (2, reduced.POINTS)
    assert (epochs[0], epochs[-1]) == (1, 1000)
    assert values[0] == pytest.approx(1 / epochs)


# --- what is shown


def test_the_forest_is_first_and_nothing_is_missing(shown):
    assert list(shown) == KINDS
    for figure in shown.values():
        assert figure.setting == {}
        assert len(figure.caption) > 100
        assert "nan" not in figure.alt


def test_a_figures_file_has_its_name_and_is_listed():
    plots_of = ROOT / "analyze" / "plots"
    files = [path for room in ("figures", "beyond") for path in (plots_of / room).glob("[!_]*.py")]
    names = {path.stem.replace("_", "-") for path in files} - {"dots"}
    assert names == {*KINDS, "pairs", "readings", "shift", "other-images"}


def test_every_figure_has_title_n_seeds_and_its_losses(shown, drawings):
    for name, svg in drawings.items():
        text = " ".join(words(svg))
        assert shown[name].title in text
        assert "150 validation" in text if name == "training" else "150 test examples" in text
        assert "3 seeds" in text
        assert "focal:gamma=3" in text
        assert ET.fromstring(svg).find("{http://www.w3.org/2000/svg}title").text == shown[name].alt


def test_the_forest_says_the_verdicts_in_words(report, drawings, shown):
    text = words(drawings["forest"])
    primary = report.comparisons[report.comparisons["metric"].isin(PRIMARY)]
    assert {"better", "worse"} & set(primary["verdict"])
    for verdict, count in primary["verdict"].value_counts().items():
        assert sum(bool(re.match(rf"[^ ]*\d {verdict}", line)) for line in text) == count
    marked = int(primary["scale_arbitrary"].sum())
    assert sum(line.endswith("†") for line in text) == marked == 2
    row = primary[(primary.loss == "focal:gamma=3") & (primary.metric == "accuracy")].iloc[0]
    said = f"accuracy (points) {100 * row.difference:+.2f} ({100 * row.low:+.2f} to"
    assert said in shown["forest"].alt.replace("\N{MINUS SIGN}", "-")


def test_svgs_can_stand_together_in_one_page(drawings):
    page = f"<div>{''.join(drawings.values())}</div>"
    tree = ET.fromstring(page)
    ids = [node.get("id") for node in tree.iter() if node.get("id")]
    assert len(ids) == len(set(ids)) > 0
    referred = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page))
    assert {a or b for a, b in referred} == set(ids)
    for node in tree.iter():
        assert not node.tag.endswith(("script", "image", "metadata"))
    # A rule has one name and one content in the whole page.
    rules = re.findall(r"\.(s\w+)\{([^}]*)\}", page)
    assert len(dict(rules)) == len(set(rules)) > 0
    assert plots.INK not in page
    for svg in drawings.values():
        opening = svg[: svg.index(">")]
        assert 'role="img"' in opening
        assert 'width="100%"' in opening
        assert "height" not in opening
        assert "currentColor" in svg
        assert not re.search(r"\bnan\b", svg.split("</title>")[1])


def test_the_same_report_gives_the_same_svg_under_any_settings(report, drawings):
    before = dict(mpl.rcParams)
    with mpl.rc_context({"axes.grid": False, "font.size": 30, "svg.fonttype": "path"}):
        for figure in plots.list_figures(report):
            assert figure.svg() == drawings[figure.name]
    assert dict(mpl.rcParams) == before


def test_no_figure_goes_through_pyplot():
    for path in (ROOT / "analyze" / "plots").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            imports = isinstance(node, ast.Import | ast.ImportFrom)
            names = [alias.name for alias in node.names] if imports else []
            assert "pyplot" not in " ".join([*names, getattr(node, "module", None) or ""]), path


def test_names_show_as_they_are_written(hostile):
    for figure in plots.list_figures(hostile):
        svg = figure.svg()
        assert "<script" not in svg
        text = "".join(words(svg))
        for name in HOSTILE[:2]:
            assert name in text
        assert HOSTILE[0] in figure.alt


@pytest.mark.parametrize("source", ["report", "hostile"])
def test_no_text_is_cut_off(source, request):
    for shown in plots.list_figures(request.getfixturevalue(source)):
        figure = shown.draw()
        renderer = FigureCanvasAgg(figure).get_renderer()
        styled(figure.draw)(renderer)
        drawn = figure.get_tightbbox(renderer)
        width, height = figure.get_size_inches()
        assert min(drawn.x0, drawn.y0) >= -0.01, shown.name
        assert drawn.x1 <= width + 0.01, shown.name
        assert drawn.y1 <= height + 0.01, shown.name


def test_one_seed_without_history_has_no_band_and_no_training(hostile):
    shown = {figure.name: figure for figure in plots.list_figures(hostile)}
    assert list(shown) == [name for name in KINDS if name != "training"]
    axes = shown["risk-coverage"].draw().axes[0]
    assert not axes.collections
    assert len(axes.lines) == 6
    assert "below 3 seeds" in " ".join(words(shown["forest"].svg()))


def test_diverged_losses_and_a_missing_reference_leave_the_rest(tmp_path):
    write_study(tmp_path, {"brier": {"n": 60}}, range(2))
    write_run(tmp_path, status="diverged", loss="dice", seed=0)
    found = plots.list_figures(build_report([tmp_path]))
    assert [figure.name for figure in found] == [name for name in KINDS if name != "forest"]
    assert not [figure.name for figure in found if "dice" in figure.alt]
    assert "dice" not in "".join(words(found[0].svg()))


def test_of_many_classes_the_worst_are_shown(tmp_path):
    losses = {"ce": {"n": 400, "classes": 300}, "focal": {"n": 400, "classes": 300, "signal": 4}}
    write_study(tmp_path, losses, [0])
    ours = next(plots.groups(build_report([tmp_path])))
    shown = classes.worst(errors := classes.class_errors(ours))
    assert len(shown) == classes.MOST_CLASSES
    rest = np.delete(np.nan_to_num(errors).mean(axis=0), shown)
    assert np.nan_to_num(errors).mean(axis=0)[shown].min() >= rest.max()
    text = " ".join(words(render.svg(classes.classes(ours), "classes", "")))
    assert "the 20 classes most often wrong" in text


def test_every_setting_has_a_forest_and_the_first_few_have_all(tmp_path):
    for lr in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        write_study(tmp_path, {"ce": {"n": 40}, "focal": {"n": 40, "signal": 4}}, [0, 1], lr=lr)
    found = plots.list_figures(build_report([tmp_path]))
    assert len({figure.name for figure in found}) == len(found)
    assert [figure.setting["lr"] for figure in found if figure.kind == "forest"] == [
        *("0.1", "0.2", "0.3", "0.4", "0.5", "0.6")
    ]
    full = [figure.setting["lr"] for figure in found if figure.kind == "classes"]
    assert full == ["0.1", "0.2", "0.3", "0.4"]
    assert "lr 0.5" in " ".join(words(found[-2].svg()))


def test_a_figure_shows_itself_in_a_notebook(shown):
    bundle = shown["error-ece"]._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert shown["error-ece"].alt in bundle["text/plain"]


@pytest.mark.slow
def test_sixty_runs_take_forty_seconds_and_four_megabytes(tmp_path):
    import time

    losses = {name: {"n": 10_000, "scale": 1 + i / 3} for i, name in enumerate(AT_HOME[:6])}
    write_study(tmp_path, losses, range(10))
    report = build_report([tmp_path])
    start = time.process_time()
    size = sum(len(figure.svg().encode()) for figure in plots.list_figures(report))
    assert time.process_time() - start < 40
    assert size < 4_000_000
