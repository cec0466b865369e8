"""The report in a real browser, on a screen, a phone and paper: nothing is cut off or loaded from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from glm_rocm.validate.page import page
from glm_rocm.validate.results import Case, Report, check
from glm_rocm.validate.statistics import BIN_EDGES, binned

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine: apt-get install chromium"),
]


def case(level: str, op: str, measured: float, *, m: int = 0, stress: str = "plain", problem: str = "layer 0") -> Case:
    gate = {"ops": "same_bits.float8", "block": "same_bits.float8", "model": "model.kl_mean"}[level]
    histogram = binned([1e-12, 3e-7, 3e-7, 2e-3, measured]) if op == "logits" else ()
    checks = (check("finite", 0), check(gate, measured, where="token 2 of 3"))
    return Case(level, op, "rocm.x", stress, problem, m, checks, evidence="emulated", histogram=histogram)


def report(worst: float) -> Report:
    long = "experts E=160 top-8 H=5120 N=192, bfloat16, FP8 per channel and token <shared expert as one more>"
    cases = (
        *(case("ops", "moe.experts", 1e-8 * m, m=m, problem=long) for m in (1, 2, 17, 8192)),
        case("ops", "moe.experts", worst, m=4, problem=long),
        case("block", "qkv", 1e-7), case("block", "qkv", 2e-7, problem="layer 1"), case("block", "mlp", 3e-7),
        case("model", "logits", 1e-3, stress="weight FP8"), case("model", "logits", 2e-3, stress="all FP8"),
    )  # fmt: skip
    return Report("pocket-glm", "gfx942", "emulated", ("ops", "block", "model"), "2026-01-01T00:00:00", {}, cases)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(params=[("light", 1280), ("dark", 1280), ("light", 360)], ids=lambda kind: f"{kind[0]}-{kind[1]}")
def shown(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A report that fails and has a baseline, opened from a file; a message on the console fails the test."""
    scheme, width = request.param
    before = report(1e-6)
    now = replace(report(1e-2), baseline="old.json", regressions=(report(1e-2).cases[4].key,))
    (tmp_path / "report.html").write_text(page(now, before), encoding="utf-8")
    opened = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto((tmp_path / "report.html").as_uri())
    yield opened
    assert said == []
    assert asked == [(tmp_path / "report.html").as_uri()]
    opened.close()


def test_verdict_comes_first_and_the_first_failure_is_open(shown: Page) -> None:
    verdict = shown.get_by_role("status")
    assert "1 of 10 cases missed a gate" in verdict.inner_text()
    assert verdict.bounding_box()["y"] < 400  # type: ignore[index]
    opened = shown.locator("details[open]")
    assert opened.count() == 1
    assert "0.01 at token 2 of 3" in opened.inner_text()


def test_nothing_reaches_beyond_the_page(shown: Page) -> None:
    assert shown.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    shown.locator("summary").evaluate_all("every => every.forEach(one => one.parentElement.open = true)")
    assert shown.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_pictures_hold_their_words(shown: Page) -> None:
    """Every word of a picture, the legend's too, lies within the picture."""
    pictures = shown.locator("figure svg")
    assert pictures.count() == 2
    outside = pictures.evaluate_all("""pictures => pictures.flatMap(picture => {
        const frame = picture.getBoundingClientRect();
        return [...picture.querySelectorAll("text")].filter(word => {
            const box = word.getBoundingClientRect();
            return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1
                || box.top < frame.top - 1;
        }).map(word => word.textContent);
    })""")
    assert outside == []
    words = pictures.locator("text").all_text_contents()
    assert "M, tokens" in words
    assert any("gate 0.001" in word for word in words)


def test_words_can_be_read_against_what_lies_behind_them(shown: Page) -> None:
    """WCAG's contrast of 4.5 for every coloured word, in the light and in the dark."""
    low = shown.evaluate("""() => {
        const linear = x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
        const light = colour => {
            const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(x => linear(x / 255));
            return .2126 * r + .7152 * g + .0722 * b;
        };
        const behind = node => {
            for (; node; node = node.parentElement) {
                const colour = getComputedStyle(node).backgroundColor;
                if (colour !== "rgba(0, 0, 0, 0)") return colour;
            }
            return "rgb(255, 255, 255)";
        };
        return [...document.querySelectorAll("p,td,th,b,h1,h2,h3,summary,.good,.bad,.soft")].filter(node => {
            const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05) < 4.5 }).map(node => node.className + " " + node.textContent.slice(0, 40));
    }""")
    assert low == []


def test_on_paper_it_is_as_wide_as_the_paper(shown: Page) -> None:
    shown.emulate_media(media="print")
    shown.set_viewport_size({"width": 700, "height": 1000})
    assert shown.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert shown.pdf(format="A4").startswith(b"%PDF")


def test_a_miss_is_told_without_colour(shown: Page) -> None:
    cell = shown.locator("td", has_text="missed").first
    assert cell.inner_text().startswith("\N{BLACK SQUARE}")


def test_histogram_counts_every_token_once() -> None:
    assert sum(binned([0.0, 1e-20, 1e-9, 5.0, 100.0, float("nan")])) == 6
    counts = binned([2e-3, 2.1e-3])
    at = counts.index(2)
    assert BIN_EDGES[at] <= 2e-3 < BIN_EDGES[at + 1]
