"""The files of a report; the page in a browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib import font_manager

from verl_maxpo.cli.common import write_json
from verl_maxpo.evaluate import plots, summary
from verl_maxpo.evaluate.comparison import compare
from verl_maxpo.evaluate.dumps import read_runs
from verl_maxpo.evaluate.figures import figures
from verl_maxpo.evaluate.names import labels_of
from verl_maxpo.evaluate.problems import SHOWN, changes
from verl_maxpo.evaluate.report import write_report
from verl_maxpo.evaluate.settings import schedule_of

TIMEOUT = 240_000  # milliseconds, of a machine that others use
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def write_dump(run: Path, step: int, correct: dict[str, int], n: int = 4, **fields: Any) -> Path:
    (run / "validation").mkdir(parents=True, exist_ok=True)
    rows = [
        {"input": name, "output": f"{run.name} says {j < c}", "gts": f"gold of {name}", "step": step}
        | {"score": float(j < c), "acc": float(j < c), "pred": str(j)}
        | fields
        for name, c in correct.items()
        for j in range(n)
    ]
    (run / "validation" / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def report_of(folder: Path, *runs: Path) -> Path:
    read = read_runs(list(runs))
    return write_report(compare(read), read, folder)[-1]


class Page(HTMLParser):
    """What a page loads, and what it shows without scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] not in (["script"], ["style"]):
            self.text += data


def test_reports_are_complete_and_hold_hostile_names(tmp_path: Path) -> None:
    names = ["<script>alert(1)<", "[red]|$x_{y$"]
    texts = {"output": "\ud800</pre><script>", "reward": float("nan")}
    runs = [write_dump(tmp_path / name, step, {"p": 1, "q": 3}, **texts) for name in names for step in (0, 5, 9)]
    read = read_runs(list(dict.fromkeys(runs)))
    result = compare(read)
    as_markdown, picture, as_html = write_report(result, read, tmp_path / "out" / "deep")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
    page = Page(as_html.read_text())
    assert page.tags.count("script") == 3  # of the page: data, Plotly and report.js
    assert all(name in page.text for name in names)
    assert [link[:22] for link in page.links] == ["data:image/png;base64,"]
    as_json = tmp_path / "out" / "report.json"
    write_json(result, as_json)
    content = json.loads(as_json.read_text())
    rows = {"estimates", "averages", "coverage", "differences", "matchings", "notes"}
    assert content.keys() == {"ks", "n", "select_by", "trained", "correctness"} | rows
    assert len(content["estimates"]) == len(result.estimates) == 2 * 3 * 5 * 3  # runs, steps, metrics, k
    low, high = content["estimates"][0]["interval"]
    assert low < content["estimates"][0]["value"] < high
    markdown = as_markdown.read_text()
    assert "<script" not in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("| &lt;script>alert(1)&lt; |")]
    assert len(lines) == 5 * 3  # metrics, steps
    columns = {line.replace("\\|", "").count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert columns == {9, 7}


def test_the_first_line_says_what_came_out(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_dump(tmp_path / f"grpo-seed{seed}", 5, {f"p{i}": 0 for i in range(40)})
        run = write_dump(tmp_path / f"maxpo-seed{seed}", 5, {f"p{i}": 4 * (i < 20) for i in range(40)})
        (run / "settings").write_text("MODEL=Qwen/Qwen2.5-0.5B\nK={0: 4, 3: 1}\nalgorithm.x\n")
    runs = read_runs(sorted(tmp_path.iterdir()))
    result = compare(runs)
    difference = result.differences[-1].interval
    said = summary.result(result)
    assert said.startswith("pass@4 at step 5: .000 for grpo; .500 for maxpo (+.500 [.")
    assert "no clear difference" not in said
    assert difference is not None
    facts = summary.facts(result, runs)
    said = ["model Qwen/Qwen2.5-0.5B", "trained with K = {0: 4, 3: 1} (maxpo)", "prompts × samples 40 × 4", "seeds 2"]
    assert facts.startswith(" · ".join(said) + " · ")
    assert schedule_of(runs[-1]) == {0: "4", 3: "1"}
    assert schedule_of(runs[0]) == {}


def test_problems_that_changed_with_what_was_sampled(tmp_path: Path) -> None:
    """Summed over seeds; the lines are read again from where they stand."""
    for seed in (0, 1):
        write_dump(tmp_path / f"a-seed{seed}", 5, {"helped": seed, "lost": 4, "same": 0, "only a": 4})
        write_dump(tmp_path / f"b-seed{seed}", 5, {"ü" * 50: 4, "same": 0, "lost": 1, "helped": 3})
    runs = read_runs(sorted(tmp_path.iterdir()))
    [of] = changes(compare(runs), runs)
    assert [problem.prompt for problem in of.shown] == ["helped", "same", "lost"]
    helped, _, lost = of.shown
    assert (helped.reference.n, helped.reference.total, helped.candidate.total) == (8, 1, 6)
    assert helped.change == pytest.approx(5 / 8)
    assert lost.gold == "gold of lost"
    assert [(s.output, s.score) for s in lost.candidate_samples] == [
        ("b-seed0 says True", 1),
        ("b-seed0 says False", 0),
    ]
    assert len(of.outcomes) == 3


def test_shown_problems_and_texts_are_bounded(tmp_path: Path) -> None:
    problems = {f"p{i}": i % 3 for i in range(SHOWN + 50)}
    write_dump(tmp_path / "a", 0, problems, n=2, output="x" * 100_000 + "the end")
    run = write_dump(tmp_path / "a", 1, dict.fromkeys(problems, 1), n=2, output={"not": "text"})
    runs = read_runs([run])
    [of] = changes(compare(runs), runs)
    assert (len(of.shown), len(of.outcomes)) == (SHOWN, SHOWN + 50)
    assert of.shown[0].change == 0.5
    assert of.shown[-1].change == -0.5
    assert of.shown[0].candidate_samples[0].output == '{"not":"text"}'
    cut = of.shown[0].reference_samples[0].output
    assert len(cut) < 1100
    assert cut.endswith("the end")


def test_pictures_have_every_script_that_a_font_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plots._fonts("maxpo, ε") == ["DejaVu Sans"]
    only = [font for font in font_manager.fontManager.ttflist if font.name == "STIXGeneral"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", only)
    missing = plots._characters(only[0].fname) - plots._characters(font_manager.findfont("DejaVu Sans"))
    assert plots._fonts("maxpo " + chr(max(missing))) == ["DejaVu Sans", "STIXGeneral"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as of:
        chromium = of.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for seed in (0, 1):
        for name, gain in [("<b>$maxpo$", 2), ("grpo", 1)]:
            write_dump(folder / f"{name}-seed{seed}", 0, {"easy": 3, "hard": 0, "lost": 2, "</script>": 0})
            write_dump(folder / f"{name}-seed{seed}", 9, {"easy": 3, "hard": gain, "lost": 0, "</script>": 0})
    return report_of(folder / "out", *sorted(folder.iterdir()))


@pytest.fixture(scope="module")
def errors() -> list[str]:
    return []


@pytest.fixture(scope="module")
def page(browser: Any, report: Path, errors: list[str]) -> Any:
    page = browser.new_page(viewport={"width": 390, "height": 900}, color_scheme="dark")
    page.set_default_timeout(TIMEOUT)
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.extend([] if request.url[:5] in ("file:", "data:") else [request.url]))
    page.goto(report.as_uri())
    page.wait_for_selector(".plot .legend")
    return page


def test_the_page_is_whole_on_both_screens_and_in_both_schemes(page: Any, errors: list[str]) -> None:
    """No error, nothing loaded, nothing wider than the screen, and figures in the colours of the page."""
    for width, scheme, text in [(390, "dark", "rgb(230, 232, 235)"), (1200, "light", "rgb(31, 35, 40)")]:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(
            "want => getComputedStyle(document.querySelector('.xtick text')).fill === want", arg=text
        )
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".plot .main-svg").count() >= 3
    assert errors == []


def test_hover_legend_and_choices_of_figures(page: Any, errors: list[str]) -> None:
    against_k, over_steps, problems = page.locator("figure").all()
    point = against_k.locator(".scatterlayer .trace .points path").first
    point.hover(force=True)
    assert re.search(
        r"1: 0\.31.*over prompts.*± \.000 over 2 seeds", against_k.locator(".hoverlayer").text_content(), re.S
    )
    assert "<b>$maxpo$" in against_k.locator(".legend").text_content()

    shown = "[...document.querySelectorAll('.plot')[1].data].filter(t => t.visible === true).map(t => t.name + t.meta)"
    assert set(page.evaluate(shown)) == {"&lt;b&gt;&#36;maxpo&#36;pass@4", "grpopass@4"}
    over_steps.locator(".legendtoggle").first.click()
    page.wait_for_function(f"new Set({shown}).size === 1")
    over_steps.locator("select").select_option("pass@1")
    assert len(set(page.evaluate(shown))) == 1  # the hidden run stays hidden
    assert page.evaluate(shown)[0].endswith("pass@1")
    assert over_steps.locator(".ytitle").text_content() == "pass@1"
    assert "lost: 1= the same: 3" in problems.locator(".legend").text_content()
    assert errors == []


def test_the_problems_can_be_sorted_and_filtered(page: Any, errors: list[str]) -> None:
    page.locator("[data-choice=comparison]").select_option("grpo, step 9 − 0")

    def prompts() -> list[str]:
        rows = page.locator(".list:not([hidden]) .problem:not([hidden])")
        return [row.locator("summary span").last.inner_text() for row in rows.all()]

    assert [prompts()[i] for i in (0, -1)] == ["hard", "lost"]
    page.locator("[data-sort]").select_option("change")
    assert [prompts()[i] for i in (0, -1)] == ["lost", "hard"]
    for kind, expected in [("helped", ["hard"]), ("never", ["lost"]), ("same", ["easy", "</script>"])]:
        page.locator("[data-filter]").select_option(kind)
        assert sorted(prompts()) == sorted(expected)
    page.locator("[data-filter]").select_option("all")
    page.locator("input[type=search]").fill("GOLD of lo")
    assert prompts() == ["lost"]
    assert page.locator("[data-count]").inner_text() == "1 of 4"
    page.locator(".list:not([hidden]) .problem:not([hidden]) summary").click()
    body = page.locator(".list:not([hidden]) .problem[open] .body").inner_text()
    assert all(text in body for text in ("grpo-seed0 says True", "grpo, step 0: 4/8", "grpo, step 9: 0/8"))
    assert errors == []


def test_the_page_without_scripts(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    page.goto(report.as_uri())
    assert page.locator("noscript img").is_visible()
    assert page.locator("table").first.is_visible()
    assert not page.locator("figure").first.is_visible()
    assert not page.locator("input").first.is_visible()
    assert page.locator(".problem summary").first.is_visible()
    context.close()


def test_runs_are_named_as_people_write_them() -> None:
    for names, labels in [
        (["maxpo-k4-n8-lr1.5e-4-seed0", "grpo-n8-lr1e-6-seed1"], ["MaxPO, k=4, lr 1.5e-4", "GRPO, lr 1e-6"]),
        (
            ["maxpo-kall-n8-lr1e-6", "maxpo-k1_8-n16-lr1e-6-warm-up"],
            ["MaxPO, k=all, n=8, lr 1e-6", "MaxPO, k=1_8, n=16, lr 1e-6, warm-up"],
        ),
        (["out/loo_minus_one-k2-n4-lr2e-5-seed0/x"], ["out/loo_minus_one, k=2, lr 2e-5/x"]),
        (["base", "maxpo-k4", "a-n8-lrx"], ["base", "maxpo-k4", "a-n8-lrx"]),
        (["maxpo-n8-lr1e-6", "MaxPO, lr 1e-6"], ["maxpo-n8-lr1e-6", "MaxPO, lr 1e-6"]),
    ]:
        assert labels_of(names) == labels


def run_of_recipe(folder: Path, name: str, right: int, n: int = 16) -> Path:
    return write_dump(folder / name, 5, {f"p{i}": right for i in range(40)}, n=n)


@pytest.mark.parametrize("source", ["settings", "Hydra", "Hydra in the run", "name"])
def test_the_headline_is_at_the_k_that_was_trained_and_at_1(tmp_path: Path, source: str) -> None:
    names = ("grpo-n8-lr1e-6-seed0", "maxpo-k4-n8-lr1e-6-seed0") if source == "name" else ("grpo", "maxpo")
    runs = [run_of_recipe(tmp_path, name, right) for name, right in zip(names, (2, 4), strict=True)]
    for run, estimator, k in zip(runs, ("grpo", "maxpo"), ("", "4"), strict=True):
        if source == "settings":
            (run / "settings").write_text(f"MODEL=m/x\nK={k}\n")
        elif source != "name":
            config = run / ("hydra" if source == "Hydra" else "") / ".hydra" / "config.yaml"
            config.parent.mkdir(parents=True)
            config.write_text(
                "recipe: {k: 4, model: m/x}\n"
                f"algorithm: {{adv_estimator: {estimator}, maxpo: {{k: '${{recipe.k}}'}}}}\n"
                "actor_rollout_ref: {model: {path: '${recipe.model}'}}\n"
                "trainer: {other: '${oc.env:NOT_SET_HERE}'}\n"
            )
    read = read_runs(runs)
    result = compare(read)
    assert list(result.trained.values()) == [[4]]
    assert re.match(r"pass@4 at step 5: .* pass@1 at step 5: ", summary.result(result))
    said = summary.facts(result, read)
    assert "trained with K = 4 (" in said
    assert said.startswith("model m/x" if source != "name" else "trained")
    assert summary.result(compare(read, [2, 8])).startswith("pass@8")  # as asked


def test_a_trained_k_between_the_powers_of_two_is_shown(tmp_path: Path) -> None:
    runs = [run_of_recipe(tmp_path, name, 1) for name in ("maxpo-k6-n8-lr1e-6-seed0", "maxpo-k32-n64-lr1e-6-seed0")]
    result = compare(read_runs(runs))
    assert result.ks == [1, 2, 4, 6, 8, 16]
    assert result.headline_ks("all") == [6, 1]


def test_the_headline_is_about_what_is_deployed(tmp_path: Path) -> None:
    runs = [run_of_recipe(tmp_path, f"maxpo-k4-n8-lr1e-6-{tag}-seed0", right) for tag, right in [("a", 2), ("b", 4)]]
    result = compare(read_runs(runs, "score"), select_by="score")
    assert summary.result(result).startswith("selected@4 at step 5: ")


def test_axes_use_their_room(tmp_path: Path) -> None:
    """Weak models have their problems in a corner of all shares."""
    runs = [write_dump(tmp_path / name, 5, {"p": a, "q": b}, n=16) for name, a, b in [("a", 0, 2), ("b", 1, 4)]]
    read = read_runs(runs)
    result = compare(read)
    *_, scatter = figures(result, "all", list(changes(result, read)))
    [view] = scatter.views.values()
    assert view["xaxis.range"] == pytest.approx([-0.06 / 8, 1.06 / 8])
    assert view["yaxis.range"] == pytest.approx([(1 - 0.18) / 16, (4 + 0.18) / 16])
