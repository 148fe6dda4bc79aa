"""The page: its sentences against the comparisons, its tables, and what a browser makes of it."""

import io
import re
import shlex
import shutil
from html import unescape

import numpy as np
import pandas as pd
import pytest
from analyze_runs import write_run, write_study

from analyze.__main__ import main
from analyze.comparison.cells import main_tables
from analyze.comparison.report import build_report
from analyze.report.documents import latex, markdown
from analyze.report.output import write_report
from analyze.report.page import render_page
from analyze.report.published import beside
from analyze.report.sentences import compared_in_words, summarise

HOSTILE = "<script>alert(1)</script>"
LOSSES = {
    "ce": {"scale": 2.0},
    "focal:gamma=3": {"signal": 3.3},
    "hinge": {"scale": 0.3},
    "nll": {"scale": 2.0},
    HOSTILE: {"signal": 2.0},
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_study(root, LOSSES, range(5))
    write_run(root, status="diverged", loss="dice", seed=0)
    return build_report([root])


@pytest.fixture(scope="module")
def out(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(report, folder, command="python -m analyze report", layout="mukhoti")
    return folder


def test_figures_without_a_scale_are_marked_in_every_table(report):
    page = render_page(report, [], {}, "")
    marked = set(re.findall(r">([^<>]+) †<", page))
    assert {"NLL", "ECE %", "brier", "mce"} <= marked
    assert not {"T", "accuracy %", "AURC %", "NLL at T", "ECE % at T"} & marked


def test_what_could_not_be_compared_is_named(tmp_path):
    write_study(tmp_path, {"ce": {"n": 100}, "focal": {"n": 100, "signal": 3.5}}, range(4))
    write_study(tmp_path, {"brier": {"n": 100}}, range(7, 10))
    write_run(tmp_path, status="diverged", loss="focal", seed=4)
    write_run(tmp_path, status="diverged", loss="dice", seed=0)
    said = summarise(build_report([tmp_path])).losses[""]
    assert "brier shares no seed with ce, so it is not compared." in said
    assert "dice diverged with every seed (1): nothing to compare." in said
    assert any(text.startswith("focal diverged with 1 of 5 seeds") for text in said)


def test_without_the_reference_its_absence_is_said(tmp_path):
    write_study(tmp_path, {"brier": {"n": 100}, "focal": {"n": 100}}, range(3))
    report = build_report([tmp_path])
    assert summarise(report).overall == (
        "Nothing is compared: ce has no finished run here; name another reference with "
        "--reference, one of brier, focal."
    )
    assert "compared with ce" not in render_page(report, [], {}, "")


def sentence(comparisons, loss):
    (found,) = (s for s in compared_in_words(comparisons).losses[""] if f" {loss} " in s)
    return found


def known(*, seeds=5, **metrics):
    """The primary comparisons of loss X: metric = (difference, low, high, verdict)."""
    columns = ["difference", "low", "high", "verdict"]
    rows = [
        {"loss": "X", "reference": "ce", "metric": metric, "seeds": seeds, "p_holm": 0.5}
        | {"scale_arbitrary": False}
        | dict(zip(columns, values, strict=True))
        for metric, values in metrics.items()
    ]
    return pd.DataFrame(rows)


WORSE_BUT_CALIBRATED = {
    "accuracy": (-0.004, -0.006, -0.002, "worse"),
    "ece": (-0.012, -0.015, -0.009, "better"),
    "nll": (0.0301, 0.0201, 0.0401, "worse"),
    "nll_ts": (0.0012, -0.0008, 0.0032, "not distinguishable"),
}


def test_the_sentence_of_a_known_study():
    comparisons = known(**WORSE_BUT_CALIBRATED)
    assert sentence(comparisons, "X") == (
        "Over 5 seeds, X is 0.40 points less accurate than ce (95% interval -0.60 to -0.20). "
        "Before temperature it is better calibrated (ECE 1.20 points lower, 95% interval -1.50 "
        "to -0.90), and its NLL is 0.0301 higher (95% interval +0.0201 to +0.0401). After "
        "temperature the two are not distinguishable in NLL (+0.0012, 95% interval -0.0008 to "
        "+0.0032)."
    )
    assert compared_in_words(comparisons).overall == (
        "Of 4 primary comparisons, 3 are called a difference."
    )


def test_without_a_verdict_no_difference_is_called():
    nothing = {
        m: (d, lo, hi, "not distinguishable") for m, (d, lo, hi, _) in WORSE_BUT_CALIBRATED.items()
    }
    comparisons = known(**nothing)
    text = sentence(comparisons, "X")
    assert not re.search("more|less|better|worse|lower|higher", text)
    # the interval alone would say so, the corrected test does not: said
    assert "are, after correction for all comparisons, not distinguishable in accuracy" in text
    assert "of 4 primary comparisons, none" in compared_in_words(comparisons).overall


def test_below_three_seeds_no_verdict_and_no_figure():
    few = {m: (d, lo, hi, "") for m, (d, lo, hi, _) in WORSE_BUT_CALIBRATED.items()}
    comparisons = known(seeds=2, **few).assign(p_holm=np.nan)
    (text,) = compared_in_words(comparisons).losses[""]
    assert text == "X has 2 seeds in common with ce: a verdict needs 3."
    assert compared_in_words(comparisons).overall.startswith("No verdicts")


def test_identical_results_and_an_arbitrary_scale_are_said(report):
    text = sentence(report.comparisons, "nll")
    assert text == "The results of nll are those of ce, to the last bit: nothing to test."
    alone = report.comparisons[report.comparisons["loss"] == "nll"]
    assert compared_in_words(alone).overall.startswith(
        "Nothing is compared: every loss has exactly"
    )
    text = sentence(report.comparisons, "hinge")
    assert "scale of the scores is arbitrary" in text
    assert "calibrated" not in text


def test_every_figure_in_the_summary_is_in_the_comparisons(report):
    table = report.comparisons
    percent = 100 * table[["difference", "low", "high"]].to_numpy()
    plain = table[["difference", "low", "high"]].to_numpy()
    allowed = {f"{abs(v):.2f}" for v in percent.ravel()} | {f"{abs(v):.4f}" for v in plain.ravel()}
    texts = compared_in_words(table).losses[""]
    figures = [f for text in texts for f in re.findall(r"\d+\.\d+", text)]
    assert len(figures) > 20
    assert set(figures) <= allowed


def test_a_verdict_of_the_comparisons_is_in_the_words(report):
    for row in report.comparisons[report.comparisons.primary].itertuples():
        if row.loss in ("nll", "hinge"):
            continue
        text = sentence(report.comparisons, row.loss)
        before, after = text.split(" After temperature ")
        part = {"accuracy": before.split(" Before ")[0], "nll_ts": after}.get(row.metric, before)
        if row.metric == "accuracy":
            assert ("accurate than" in part) == (row.verdict in ("better", "worse"))
        if row.metric == "ece":
            assert (f"it is {row.verdict} calibrated" in part) == (
                row.verdict in ("better", "worse")
            )
        if row.metric == "nll_ts":
            assert part.startswith("its NLL is") == (row.verdict in ("better", "worse"))


def test_the_page_needs_no_other_file_and_escapes_what_runs_say(out):
    page = (out / "index.html").read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script>") == 1
    addresses = set(re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page))
    assert all(a.startswith(("#", "data:")) for a in addresses)


def test_the_table_of_losses_is_in_the_page_as_in_the_cells(report, out):
    text = unescape((out / "index.html").read_text())
    (tables,) = main_tables(report)
    for row in tables.rows:
        for cell in row:
            assert cell.text in text
            assert cell.note in text
    ece = {cell.note for row in tables.rows for cell in row if cell.note}
    assert all(note.startswith("null ") for note in ece)


def test_only_distinguishable_winners_are_bold(report):
    (tables,) = main_tables(report)
    better = report.comparisons[report.comparisons.verdict == "better"]
    assert not better.scale_arbitrary.any()
    expected = {(row.loss, row.metric) for row in better.itertuples()}
    columns = {"accuracy %": "accuracy", "NLL": "nll", "ECE %": "ece", "NLL at T": "nll_ts"}
    bold = {
        (row[0].text, columns[name])
        for row in tables.rows
        for name, cell in zip(tables.head, row, strict=True)
        if cell.bold
    }
    assert bold == expected
    assert expected


def test_markdown_and_latex_have_a_row_for_each_loss(report):
    tables = list(main_tables(report))
    lines = markdown(tables, []).strip().splitlines()
    assert len(lines) == 2 + len(tables[0].rows)
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "**" in "".join(lines)
    text = latex(tables, ["legend"])
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + len(tables[0].rows)
    assert all(len(re.findall(r"(?<!\\)&", row)) == len(tables[0].head) - 1 for row in rows)
    assert "%" not in re.sub(r"\\%", "", "".join(rows))


def test_a_paper_stands_beside_with_its_own_temperature(tmp_path):
    write_study(tmp_path, {"ce": {"scale": 2.0}}, range(2), dataset="cifar10")
    mukhoti = beside(build_report([tmp_path]), "mukhoti")
    assert mukhoti.head == ["loss", "here", "CIFAR-10 ResNet-50", "CIFAR-10 ResNet-110"]
    rows = {row[0]: row[1:] for row in mukhoti.rows}
    assert rows["ce"][1:] == ["4.95; 4.35 → 1.35 (2.5)", "4.89; 4.41 → 1.09 (2.8)"]
    assert re.fullmatch(r"\d+\.\d\d; \d+\.\d\d → \d+\.\d\d \(\d\.\d\)", rows["ce"][0])
    # scores with noise of variance v about a signal s have the posterior softmax(s z / v), so that
    # T is v / s: 1 + .5² over 3, for scores that were doubled
    assert float(rows["ce"][0][-4:-1]) == pytest.approx(2 * 1.25 / 3, abs=0.2)
    assert ("epochs", "2", "350") in mukhoti.recipe
    assert "batch_size" not in {name for name, _, _ in mukhoti.recipe}  # 128 is theirs too
    guo = beside(build_report([tmp_path]), "guo")
    ours = guo.rows[0][1]
    row = build_report([tmp_path]).losses.iloc[0]
    assert ours.endswith(f"{row.nll_mean:.4f} → {row.nll_ts_mean:.4f}")


def test_the_command_on_the_page_makes_the_same_page(report, tmp_path, capsys):
    root = tmp_path / "a study"
    write_study(root, {"ce": {}, "focal": {"signal": 2.5}}, range(3))
    arguments = ["report", str(root), "--out", str(tmp_path / "out"), "--layout", "guo"]
    assert main(arguments) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    command = unescape(re.search(r"<pre><code>(.*?)</code></pre>", page)[1])
    assert command.startswith("python -m analyze report ")
    assert main(shlex.split(command)[3:]) == 0
    assert (tmp_path / "out" / "index.html").read_text() == page
    assert f"open file://{tmp_path}/out/index.html" in capsys.readouterr().out.replace("\n", "")


def chromium():
    return (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if not chromium():
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280, 1920])
def test_a_browser_shows_it_without_a_complaint_or_a_request(browser, out, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    address = (out / "index.html").as_uri()
    page.goto(address)
    for closed in page.query_selector_all("details"):
        closed.evaluate("one => { one.open = true }")
    assert complaints == []
    assert [r for r in requests if r != address and not r.startswith("data:")] == []
    # nothing sticks out of the page: what is wide scrolls in its own box
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    bright = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in (ink, paper)]
    assert (bright[0] > bright[1]) == (scheme == "dark")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(browser, out, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page(color_scheme=scheme)
    page.goto((out / "index.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    found = axe.run(page).response
    assert len(found["passes"]) > 20
    told = [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in found["violations"]]
    assert told == []
    page.close()


@pytest.fixture
def page(browser, out):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((out / "index.html").as_uri())
    yield page
    assert faults == []
    context.close()


def columns(page):
    """The headings of the answer's table that can be seen."""
    heads = page.locator("#table-answer thead th").all()
    return [head.inner_text() for head in heads if head.is_visible()]


def test_a_reading_is_chosen(page):
    assert columns(page)[3:] == ["NLL", "ECE %", "T"]
    page.get_by_label("after temperature (T)").check()
    assert columns(page)[3:] == ["NLL at T", "ECE % at T", "T"]


def test_losses_are_chosen_for_tables_and_figures_alike(page):
    def seen():
        rows = page.locator("#table-answer tbody tr[data-loss]").all()
        return [row.get_attribute("data-loss") for row in rows if row.is_visible()]

    everything = seen()
    assert len(everything) == 6
    box = page.locator("#choose input[value=hinge]")
    arrows = page.locator('#error-ece [data-loss="hinge"]')
    assert arrows.first.is_visible()
    box.uncheck()
    assert seen() == [loss for loss in everything if loss != "hinge"]
    assert not arrows.first.is_visible()
    assert page.locator("#shown").inner_text() == "5 of 6"
    page.get_by_role("button", name="none", exact=True).click()
    assert seen() == []
    assert not page.locator("figure#reliability").is_visible()
    page.get_by_role("button", name="those that may be the best").click()
    best = {
        row.get_attribute("data-loss") for row in page.locator("#table-answer tr[data-best]").all()
    }
    assert set(seen()) == best
    page.get_by_role("button", name="all", exact=True).click()
    assert seen() == everything


def test_a_loss_under_the_pointer_or_the_focus_stands_out(page):
    page.locator("#table-answer tr[data-loss=hinge] th").hover()
    dim = page.locator("svg .dim").count()
    assert dim > 10
    assert page.locator("svg .dim[data-loss=hinge]").count() == 0
    page.locator("h1").hover()
    assert page.locator("svg .dim").count() == 0
    page.locator("#choose input[value=hinge]").focus()
    assert page.locator("svg .dim").count() == dim


@pytest.mark.parametrize("form", ["Markdown", "LaTeX", "CSV"])
def test_tables_are_copied(page, form, report):
    for details in page.locator("details").all():
        details.evaluate("one => { one.open = true }")
    places = page.locator(".copy").all()
    assert len(places) == page.locator("table[id]").count() > 4
    for place in places:
        place.get_by_role("button", name=form).click()
        place.locator("[role=status]", has_text="copied").wait_for()
        text = page.evaluate("navigator.clipboard.readText()")
        start = {"Markdown": "| ", "LaTeX": "\\begin{tabular}", "CSV": ""}[form]
        assert text.startswith(start)
        lines = text.splitlines()
        assert len(lines) > 3
        if form == "CSV":
            read = pd.read_csv(io.StringIO(text))
            assert len(read) == len(lines) - 1
    places[0].get_by_role("button", name=form).click()
    text = page.evaluate("navigator.clipboard.readText()")
    row = report.losses[report.losses.loss == "hinge"].iloc[0]
    assert f"{100 * row.accuracy_mean:.2f}" in text


def test_a_link_opens_what_is_folded(page, out):
    page.goto((out / "index.html").as_uri() + "#table-runs")
    assert page.locator("#table-runs").is_visible()
    for link in page.locator(".tools a, figcaption a, nav a").all():
        target = link.get_attribute("href").removeprefix("#")
        assert page.locator(f'[id="{target}"]').count() == 1


def test_a_click_sorts_and_a_second_turns_it_around(browser, out, report):
    page = browser.new_page()
    page.goto((out / "index.html").as_uri())
    rows = "#losses table tbody tr"
    by_accuracy = list(
        report.losses.dropna(subset="accuracy_mean")
        .sort_values("accuracy_mean", kind="stable")
        .accuracy_mean
    )

    def shown():
        return [
            float(text.split()[0])
            for text in page.locator(f"{rows} td:nth-child(4)").all_inner_texts()
            if text.strip()
        ]

    button = page.get_by_role("button", name="accuracy %").first
    button.click()
    assert shown() == [round(100 * a, 2) for a in by_accuracy]
    assert page.locator("#losses th[aria-sort=ascending]").count() == 1
    button.click()
    assert shown() == [round(100 * a, 2) for a in by_accuracy[::-1]]
    # a loss that diverged has no accuracy: last, whichever way
    assert page.locator(f"{rows} th").all_inner_texts()[-1] == "dice"
    page.close()
