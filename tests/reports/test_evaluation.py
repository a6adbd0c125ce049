"""The evaluation page: every figure from the tables, nothing from outside, hostile names inert."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medseg.config import EvaluateConfig
from medseg.evaluation import Scores, compare, evaluate, plan_tasks
from medseg.evaluation.scores import MEAN
from medseg.evaluation.tables import latex_text, paper_table, to_latex, to_markdown
from medseg.metrics import METRICS
from medseg.reports.comparison import write_comparison
from medseg.reports.evaluation_folder import write_evaluation
from medseg.reports.gallery import chosen_cases
from tests.evaluation.cohorts import make_cohort, predict, shifted
from tests.review.chromium import open_browser, wait

HOSTILE = "<img src=x onerror=window.owned=1>\"'`$x_1^2$ & {{ 7*7 }} \\input{a} | b"


class Tables(HTMLParser):
    """Tables by id: rows of (text, data-value)."""

    def __init__(self):
        super().__init__()
        self.tables, self.tags, self.links = {}, [], []
        self._rows, self._cell = None, None

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.tags.append(tag)
        self.links += [told[name] for name in ("src", "href") if name in told]
        if tag == "table":
            self._rows = self.tables.setdefault(told.get("id", "?"), [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("td", "th") and self._rows is not None:
            self._cell = ["", told.get("data-value")]
            self._rows[-1].append(self._cell)

    def handle_data(self, data):
        if self._cell is not None:
            self._cell[0] += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None
        elif tag == "table":
            self._rows = None


def parse(path):
    page = Tables()
    page.feed(path.read_text(encoding="utf-8"))
    return page


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A cohort with one prediction missing, evaluated and written."""
    place = tmp_path_factory.mktemp("evaluated")
    cohort = make_cohort(place / "cohort")
    folder = predict(cohort, place / "p", shifted)
    (folder / "c3.nii.gz").unlink()
    scores = evaluate(folder, cohort, config=EvaluateConfig(resamples=500))
    curves = place / "curves.csv"
    curves.write_text("step,train/loss,val/dice\n0,1.2,\n10,0.8,0.5\n20,0.6,0.7\n")
    write_evaluation(place / "out", scores, plan_tasks(folder, cohort), curves=curves)
    return place / "out", scores


def test_the_promised_files_are_there(evaluated):
    folder, _ = evaluated
    assert {path.name for path in folder.iterdir()} == {
        "scores.csv",
        "cases.csv",
        "evaluation.yaml",
        "summary.csv",
        "agreement.csv",
        "subgroups.csv",
        "table.md",
        "table.tex",
        "methods.md",
        "figures",
        "report.html",
    }


def test_every_figure_of_the_page_is_that_of_the_tables(evaluated):
    folder, _ = evaluated
    tables = parse(folder / "report.html").tables
    summary = pd.read_csv(folder / "summary.csv")
    rows = tables["summary"][1:]
    assert len(rows) == len(summary)
    for row, expected in zip(rows, summary.to_dict("records"), strict=True):
        texts = [text.strip() for text, _ in row]
        assert texts[:2] == [expected["label"], expected["metric"]]
        for (text, value), name in zip(row[2:-1], summary.columns[2:-1], strict=True):
            exact = float("nan") if value in ("", None) else float(value)
            assert exact == pytest.approx(expected[name], nan_ok=True, rel=1e-12)
            shown = text.strip().replace("−", "-")
            assert shown == "–" or abs(float(shown) - exact) <= 0.0051  # two decimals at least
    scores = pd.read_csv(folder / "scores.csv")
    dice = scores[(scores["metric"] == "dice") & (scores["label"] == MEAN)].set_index("case")
    header = [text.strip() for text, _ in tables["cases"][0]]
    for row in tables["cases"][1:]:
        value = float(row[header.index("DSC ↑")][1])
        assert value == pytest.approx(dice.loc[row[0][0], "value"], rel=1e-12)


def test_the_results_table_is_that_of_the_paper(evaluated):
    folder, _ = evaluated
    summary = pd.read_csv(folder / "summary.csv").set_index(["label", "metric"])
    rows = parse(folder / "report.html").tables["results"]
    assert [text for text, _ in rows[0]][:3] == ["label", "n", "DSC ↑"]
    for row, label in zip(rows[1:], ("liver", "spleen", "mean"), strict=True):
        told = summary.loc[(label, "dice")]
        assert row[2][0] == f"{told['mean']:.3f}‡"  # four patients have no interval


def test_the_page_is_self_contained(evaluated):
    folder, _ = evaluated
    page = parse(folder / "report.html")
    assert page.links
    assert all(link.startswith(("data:image/", "#h-")) for link in page.links)
    text = (folder / "report.html").read_text()
    assert "default-src 'none'" in text
    outside = re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?://|//cdn|@import|url\((?!#)", outside)


def test_the_page_says_what_was_evaluated_and_by_which_rules(evaluated):
    folder, scores = evaluated
    text = (folder / "report.html").read_text()
    for told in (
        "small",
        "unet",
        scores.about["cohort_sha256"],
        "c3",
        "Intervals (95%)",
        "undefined",
        "marching-cubes",
        *(metric.source for metric in METRICS.values()),
    ):
        assert told in text
    assert text.count("<figure>") >= 8  # three distributions, two volumes, forest, three cases


def test_best_median_and_worst_are_those_of_the_scores(evaluated):
    _, scores = evaluated
    chosen = chosen_cases(scores)
    values = scores.values("dice")[MEAN].drop("c3")
    ranks = ["best", "median", "worst", "second worst", "third worst"]  # of seven
    assert [rank for rank, _, _ in chosen] == ranks
    assert chosen[0][2] == values.max()
    assert [value for _, _, value in chosen[2:]] == values.sort_values().iloc[:3].tolist()
    assert chosen[1][2] == values.sort_values(ascending=False).iloc[len(values) // 2]


def test_shown_cases_go_slice_by_slice_with_truth_and_prediction(evaluated):
    folder, scores = evaluated
    page = (folder / "report.html").read_text(encoding="utf-8")
    pairs = json.loads(re.search(r"const pairs = (.*);$", page, re.MULTILINE)[1])
    assert [each["name"] for each in pairs["cases"]] == [
        case for _, case, _ in chosen_cases(scores)
    ]
    assert [label["name"] for label in pairs["labels"]] == ["liver", "spleen"]
    for number, each in enumerate(pairs["cases"]):
        slices = each["slices"]
        assert f'data-shown="{number}"' in page
        assert slices["number"] > 5
        assert slices["scan"].startswith("data:image/jpeg;base64,")
        assert slices["present"] == [0, 1]
        columns = [np.asarray(opened(layer["source"])) for layer in slices["layers"]]
        scan = np.asarray(opened(slices["scan"]))
        assert all(column.shape == scan.shape for column in columns)
        prediction, truth = ((column == 1).sum() for column in columns)
        assert 0 < truth < prediction  # an outline, and what is filled


def opened(data_uri):
    """The picture that an address holds."""
    return Image.open(io.BytesIO(base64.b64decode(data_uri.partition(",")[2])))


def test_the_same_scores_give_the_same_page(evaluated, tmp_path):
    _, scores = evaluated
    for name in ("a", "b"):
        write_evaluation(tmp_path / name, scores)
    pages = [(tmp_path / name / "report.html").read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def hostile_scores(cases=12):
    """Labels, cases, groups and notes that would break a careless page."""
    random = np.random.default_rng(0)
    rows, names = [], [f"{HOSTILE} {k}" for k in range(cases)]
    for case in names:
        for label in (HOSTILE, MEAN):
            for name, metric in METRICS.items():
                rows.append(
                    (case, case, label, name, float(random.random()), metric.unit_at(1.0), HOSTILE)
                )
    table = pd.DataFrame(
        rows, columns=["case", "patient", "label", "metric", "value", "unit", "note"]
    )
    told = pd.DataFrame(
        {
            "case": names,
            "patient": names,
            "fold": "",
            "status": "scored",
            "reason": HOSTILE,
            "truth_sha256": "t",
            HOSTILE: [HOSTILE, "other"] * (cases // 2),
        }
    )
    about = {
        "cohort": HOSTILE,
        "split": HOSTILE,
        "run": {"model": HOSTILE, HOSTILE: [HOSTILE]},
        "extra_predictions": [HOSTILE],
    }
    return Scores(table, told, EvaluateConfig(resamples=200), about)


def test_hostile_names_are_inert(tmp_path):
    write_evaluation(tmp_path, hostile_scores())
    page = parse(tmp_path / "report.html")
    assert page.tags.count("script") == 1
    assert all(link.startswith(("data:image/svg+xml;base64,", "#h-")) for link in page.links)
    assert "49" not in (tmp_path / "table.md").read_text().split()
    assert page.tables["cases"][1][0][0] == f"{HOSTILE} 0"


def test_hostile_methods_are_inert_in_a_comparison(tmp_path):
    scores = hostile_scores()
    write_comparison(tmp_path, compare({HOSTILE: scores, "b": scores}, config=scores.config))
    page = parse(tmp_path / "report.html")
    assert page.tags.count("script") == 1
    assert HOSTILE in page.tables["differences"][1][0][0]
    assert (tmp_path / "comparison.csv").is_file()


def test_tables_for_papers_escape_what_their_language_would_read():
    assert latex_text("a_b & 5% {x} ↑ −1") == r"a\_b \& 5\% \{x\} $\uparrow$ $-$1"
    table = pd.DataFrame([[HOSTILE, "1"]], columns=["label", "n"])
    markdown, latex = to_markdown(table, "c"), to_latex(table, "c")
    assert markdown.count("\n") == 5
    assert r"\|" in markdown
    assert r"\textbackslash{}input\{a\}" in latex
    assert not re.search(r"(?<!\\)[$_#%]", latex.split("midrule")[1])


def test_the_paper_table_has_one_row_a_label_and_the_mean_last(evaluated):
    _, scores = evaluated
    from medseg.evaluation import summarise

    table = paper_table(summarise(scores), 1.0)
    assert list(table["label"]) == ["liver", "spleen", "mean over labels"]
    assert "NSD at 1 mm ↑" in table.columns


@pytest.mark.parametrize("labels", [1, pytest.param(40, marks=pytest.mark.slow)])
def test_one_label_and_forty_make_a_page(tmp_path, labels):
    random = np.random.default_rng(1)
    names = [f"organ {k}" for k in range(labels)]
    rows = [
        (f"c{case}", f"c{case}", label, name, float(random.random()), metric.unit_at(1.0), "")
        for case in range(5)
        for label in (*names, MEAN)
        for name, metric in METRICS.items()
    ]
    table = pd.DataFrame(
        rows, columns=["case", "patient", "label", "metric", "value", "unit", "note"]
    )
    cases = pd.DataFrame(
        {
            "case": [f"c{k}" for k in range(5)],
            "status": "scored",
            "patient": [f"c{k}" for k in range(5)],
        }
    )
    write_evaluation(tmp_path, Scores(table, cases, EvaluateConfig(resamples=100)))
    assert len(parse(tmp_path / "report.html").tables["results"]) == labels + 1 + (labels > 1)


CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (path := shutil.which(name))
    ),
    None,
)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on this machine")
@pytest.mark.parametrize("width", [1280, 794, 500])  # a desktop, A4 at 96 dots an inch, narrow
def test_a_browser_shows_the_page_and_runs_nothing_of_the_names(tmp_path, width):
    """The page as the browser built it: no script ran, sorting works, nothing is wider than it."""
    write_evaluation(tmp_path, hostile_scores())
    page = tmp_path / "report.html"
    probe = """<script>
      const head = document.querySelector('#cases thead th:nth-child(3)');
      head.click();
      const values = [...document.querySelectorAll('#cases tbody tr')].map(
        row => parseFloat(row.cells[2].dataset.value));
      const sorted = values.every((v, k) => k === 0 || values[k - 1] <= v);
      document.querySelector('#cases tbody tr a').click();
      const panel = document.getElementById('case');
      const opened = !panel.hidden && panel.querySelectorAll('tbody tr').length === 1;
      const find = document.getElementById('find');
      find.value = ' 11'; find.dispatchEvent(new Event('input'));
      const one = document.getElementById('shown').textContent === '1 of 12';
      const pictures = [...document.images].every(image => image.naturalWidth > 0);
      document.body.setAttribute('data-told', [window.owned === 1, sorted, pictures, opened, one,
        document.documentElement.scrollWidth <= window.innerWidth].join());
    </script></body>"""
    page.write_text(page.read_text().replace("</body>", probe))
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--window-size={width},1000",
            "--virtual-time-budget=3000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert 'data-told="false,true,true,true,true,true"' in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 400])
def test_the_browser_shows_slices_of_truth_and_prediction(evaluated, width):
    folder, _ = evaluated
    browser = open_browser(width, 900)
    try:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.get((folder / "report.html").as_uri())
        browser.execute_script("document.querySelector('[data-shown]').click()")
        wait(lambda: browser.execute_script("return grey.naturalWidth"), "the slices")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script("return viewer.scrollWidth <= viewer.clientWidth")
        shown = "return [...document.querySelectorAll('.paint')].map(layer => !layer.hidden)"
        assert browser.execute_script(shown) == [True, True]
        names = browser.execute_script("return layers.innerText").splitlines()
        assert [name.strip() for name in names] == ["prediction", "truth, its outline"]
        browser.execute_script("layers.querySelectorAll('input')[1].click()")
        assert browser.execute_script(shown) == [True, False]
        before = browser.execute_script("return slice.value")
        press_right = "slice.focus(); return document.activeElement === slice"
        assert browser.execute_script(press_right)
        browser.find_element("css selector", "#slice").send_keys("\ue014")  # arrow right
        assert int(browser.execute_script("return slice.value")) == int(before) + 1
        browser.find_element("css selector", "body").send_keys("\ue00c")  # escape
        assert not browser.execute_script("return viewer.open")
    finally:
        browser.quit()


def test_figures_for_papers_lie_beside_the_page_at_journal_width(evaluated):
    folder, _ = evaluated
    names = {path.name for path in (folder / "figures").iterdir()}
    charts = {"distribution_dice", "bland_altman", "dice_against_volume", "subgroups", "training"}
    assert {f"{name}.{form}" for name in charts for form in ("svg", "pdf", "png")} <= names
    assert {"case_best.png", "case_median.png", "case_worst.png"} <= names
    with Image.open(folder / "figures/distribution_dice.png") as image:
        assert image.width == round(7.2 * 300)  # 183 mm
    assert (folder / "figures/bland_altman.pdf").read_bytes().startswith(b"%PDF")


def test_the_methods_say_what_was_done_with_versions_and_sources(evaluated):
    folder, scores = evaluated
    text = (folder / "methods.md").read_text()
    for part in (
        "8 cases of 4 patients (liver and spleen)",
        "1 had no prediction",
        "tolerance of the NSD was 1 mm",
        "No intervals are given",  # of four patients
        f"medseg {scores.about['versions']['medseg']}",
        "doi:10.1038/s41592-023-02151-z",
    ):
        assert part in text
    assert re.findall(r"\[[a-z]+\]", text) == []  # every source has its number


def many_scores(cases=2000, labels=5):
    random = np.random.default_rng(2)
    names = [*(f"organ {k}" for k in range(labels)), MEAN]
    index = pd.MultiIndex.from_product(
        [[f"case_{k:04d}" for k in range(cases)], names, list(METRICS)],
        names=["case", "label", "metric"],
    )
    table = index.to_frame(index=False)
    table["patient"], table["note"] = table["case"], ""
    table["value"] = random.random(len(table))
    table["unit"] = table["metric"].map({name: m.unit_at(1.0) for name, m in METRICS.items()})
    ids = list(index.levels[0])
    about = pd.DataFrame({"case": ids, "patient": ids, "status": "scored", "reason": ""})
    return Scores(table, about, EvaluateConfig(resamples=200))


@pytest.mark.slow
def test_a_page_of_2000_cases_stays_small(tmp_path):
    write_evaluation(tmp_path, many_scores())
    assert (tmp_path / "report.html").stat().st_size < 10e6
