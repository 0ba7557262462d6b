"""The report of the committed results: every claim, no dead link, alternatives to pictures, contrast, size; and as a
browser shows it, where there is one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from browser import MISSING, PROGRAM, Browser, browser

from physlm.lab.committed import committed_claims
from physlm.lab.experiment import experiment_names, load_experiment, part_of
from physlm.report.build import Report, write_report
from physlm.report.content import PARTS, read_claims
from physlm.report.samples import task_samples
from physlm.tasks.config import TaskConfig

ROOT = Path(__file__).parents[2]
EXPERIMENTS, RESULTS = ROOT / "experiments", ROOT / "results"
CLAIMS = sorted({*experiment_names(EXPERIMENTS), *committed_claims(RESULTS)})
MOST_BYTES = 8_000_000


class Page(HTMLParser):
    """What tests ask of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.text = path, path.read_text()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag in names]

    @cached_property
    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.tags if "id" in attrs]

    @property
    def headings(self) -> list[int]:
        return [int(tag[1]) for tag, _ in self.tags if re.fullmatch(r"h[1-6]", tag)]

    @cached_property
    def targets(self) -> set[tuple[Path, str]]:
        """File and anchor of whatever it links to or shows, but for the network and pictures within it."""
        return set(self._targets())

    def _targets(self) -> Iterator[tuple[Path, str]]:
        for attrs in (attrs for _, attrs in self.tags):
            for link in filter(None, (attrs.get("href"), attrs.get("src"))):
                if not link.startswith(("https://arxiv.org/abs/", "data:image/")):
                    target, _, anchor = link.partition("#")
                    yield (self.path.parent / unquote(target)).resolve() if target else self.path, unquote(anchor)


@pytest.fixture(scope="module")
def report() -> Report:
    claims = read_claims(RESULTS, {name: load_experiment(name, EXPERIMENTS) for name in experiment_names(EXPERIMENTS)})
    return Report(claims, task_samples(), {})


@pytest.fixture(scope="module")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(report, tmp_path_factory.mktemp("report"))[0].parent


@pytest.fixture(scope="module")
def one_file(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(report, tmp_path_factory.mktemp("one"), one_file=True)[0]


@pytest.fixture(scope="module")
def pages(folder: Path, one_file: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in (*sorted(folder.rglob("*.html")), one_file)}


# ---- What is there


def test_every_claim_has_a_page_that_the_wall_links_to(folder: Path, pages: dict[Path, Page], one_file: Path) -> None:
    wall = {target for target, _ in pages[folder / "index.html"].targets}
    assert wall >= {(folder / "claims" / f"{name}.html").resolve() for name in CLAIMS}
    assert {path.stem for path in (folder / "claims").iterdir()} == set(CLAIMS)
    assert {anchor for _, anchor in pages[one_file].targets} >= {f"claim-{name}" for name in CLAIMS}
    assert set(pages[one_file].ids) >= {"wall", "quantities", "samples", *(f"claim-{name}" for name in CLAIMS)}


def test_a_page_says_what_is_committed(report: Report, folder: Path) -> None:
    for claim in report.claims:
        text = plain(folder / "claims" / f"{claim.name}.html")
        assert squeezed(claim.sentence) in text and squeezed(claim.redo) in text
        for one in claim.judged:
            assert squeezed(one.quantity) in text and squeezed(one.wanted) in text and squeezed(one.origin) in text
        assert all(squeezed(one.name) in text for one in claim.others)
        assert all(squeezed(line).replace("`", "") in text for line in (*claim.deviations, *claim.notes, claim.found))
        assert ("Notrunyet" in text) == (claim.name not in committed_claims(RESULTS)) != claim.ran


def plain(path: Path) -> str:
    """All that can be read on a page, without blanks."""
    return squeezed(unescape(re.sub(r"<[^>]*>", "", path.read_text())))


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_numbers_are_those_of_law_json(report: Report) -> None:
    for claim in report.claims:
        if claim.ran:
            law = json.loads((RESULTS / claim.name / "law.json").read_text())
            rows = {row["quantity"]: row for row in law["verdicts"]}
            assert {one.quantity: one.verdict for one in claim.judged} == {
                name: row["verdict"] for name, row in rows.items()}
            ours = [one.ours.name for one in claim.judged if one.ours] + [one.name for one in claim.others]
            assert sorted(ours) == sorted(one["name"] for one in law["quantities"])


def test_the_wall_says_what_each_mark_means(report: Report, folder: Path) -> None:
    """A dash stands for all that neither agrees nor disagrees, so the key names both kinds."""
    verdicts = {one.verdict for claim in report.claims for one in claim.judged}
    wall = (folder / "index.html").read_text()
    assert "not judged" in verdicts and "not measured, or not judged" in wall


def test_the_table_has_every_quantity(report: Report, folder: Path, pages: dict[Path, Page]) -> None:
    count = sum(len(claim.judged) + len(claim.others) for claim in report.claims)
    page = pages[folder / "quantities.html"]
    assert len(page.all("tr")) == 1 + count > 3000
    assert "hidden" in page.all("form")[0], "what does nothing without the script does not show without it"


def test_every_task_has_samples(report: Report) -> None:
    assert [task.kind for task in report.tasks] == list(TaskConfig.table)
    for task in report.tasks:
        assert task.samples or (task.kind == "bioR" and "file" in task.missing)
        assert task.doc and all(sample.spans for sample in task.samples)


def test_every_part_of_the_series_has_a_title() -> None:
    assert set(map(part_of, CLAIMS)) <= set(PARTS)


def test_what_is_of_no_published_part_is_not_called_one(folder: Path) -> None:
    assert "beyond" in map(part_of, CLAIMS)
    for path in folder.rglob("*.html"):
        assert not re.search("partbeyond|beyondtheseries:beyond", plain(path), re.I)
    assert "Beyondtheseries" in plain(folder / "index.html")


# ---- Links, headings, pictures, size


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    for page in pages.values():
        assert len(page.ids) == len(set(page.ids)), page.path
        for target, anchor in page.targets:
            assert target.is_file(), f"{page.path}: {target}"
            if anchor:
                known = pages[target] if target in pages else Page(target)
                assert anchor in known.ids, f"{page.path}: #{anchor}"
    assert sum(len(page.targets) for page in pages.values()) > 5 * len(CLAIMS)


def test_pages_have_one_main_heading_and_skip_no_level(pages: dict[Path, Page]) -> None:
    for page in pages.values():
        assert page.headings.count(1) == 1 and page.headings[0] == 1, page.path
        assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
        assert len(page.all("main")) == len(page.all("title")) == 1 and page.all("html")[0]["lang"] == "en"


def test_pictures_have_words(pages: dict[Path, Page]) -> None:
    for page in pages.values():
        for attrs in page.all("img"):
            assert str(attrs.get("alt") or "").strip() and int(attrs["width"] or 0) > 0 < int(attrs["height"] or 0)
        for attrs in page.all("svg"):
            assert attrs.get("role") == "img" and str(attrs.get("aria-label") or "").strip()
        for attrs in page.all("select", "input"):
            assert attrs.get("name")
        assert page.text.count("<label") == len(page.all("select", "input"))


def test_nothing_comes_from_the_network(pages: dict[Path, Page]) -> None:
    for page in pages.values():
        for tag, attrs in page.tags:
            if tag in ("script", "link", "img"):
                assert not str(attrs.get("src") or attrs.get("href") or "").startswith(("http", "//")), page.path
        assert "@import" not in page.text and "url(" not in page.text


def test_all_is_small(folder: Path, one_file: Path) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*")) < MOST_BYTES
    assert one_file.stat().st_size < MOST_BYTES and sorted(one_file.parent.iterdir()) == [one_file]


def test_the_same_results_give_the_same_bytes(report: Report, tmp_path: Path) -> None:
    some, written = replace(report, claims=report.claims[:4]), []
    for place in ("one", "other"):
        write_report(some, tmp_path / place)
        written.append({path.relative_to(tmp_path / place): path.read_bytes()
                        for path in (tmp_path / place).rglob("*") if path.is_file()})
    assert written[0] == written[1] and len(written[0]) == 5 + 3 * len(some.claims)


# ---- Colours


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_the_standard_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_told_apart(scheme: str) -> None:
    style = (ROOT / "physlm" / "report" / "static" / "report.css").read_text()
    blocks = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in re.findall(
        r":root \{(.*?)\}", style, re.DOTALL)]
    assert len(blocks) == 2 and set(blocks[0]) == set(blocks[1])
    colours = blocks[scheme == "dark"]
    roles, hues = ([name for name in colours if name.startswith(kind)] for kind in ("role-", "hue-"))
    assert len(roles) == len(hues) == 8
    uses = [f".{role} {{ background: var(--{role})" for role in roles]
    uses += [f"polyline.{hue} {{ stroke: var(--{hue})" for hue in hues] + [f".stroke.{hue} {{" for hue in hues]
    assert not [one for one in uses if one not in style], "a colour that nothing is drawn in"
    texts = [*((text, on) for text in ("ink", "soft", "accent") for on in ("paper", "card")), ("ink", "tint"),
             ("soft", "figure-paper"), *((text, role) for text in ("ink", "soft") for role in roles)]
    drawings = [*((hue, "paper") for hue in hues), ("accent", "tint"), ("soft", "tint")]
    found = {pair: contrast(*(colours[name] for name in pair)) for pair in (*texts, *drawings)}
    assert not {pair: value for pair, value in found.items() if value < (4.5 if pair in texts else 3.0)}


# ---- As a browser shows it


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


PHONE, DESK = 390, 1280
OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
WIDE = """[...document.querySelectorAll('body *')].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width > 1 && (box.right > innerWidth + 1 || box.left < -1) && !one.closest('pre, .skip');
}).map((one) => `${one.tagName}.${one.className}`).slice(0, 5)"""


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_page_scrolls_sideways(seen: Browser, folder: Path, width: int) -> None:
    for page in sorted(folder.rglob("*.html")):
        seen.look(page, width, 844)
        seen.run(OPEN_ALL)
        assert seen.run("innerWidth") == width
        assert seen.run("document.documentElement.scrollWidth") <= width, page
        assert seen.run(WIDE) == [], page


# Every text's colour against what is behind it, as the browser computed both.
FAINT = """(() => {
  const channels = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map(
    (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce(
    (sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = new Map();
  let count = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walk.nextNode(); text; text = walk.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility() || node.closest('script, style')) continue;
    const pair = [luminance(channels(getComputedStyle(node).color)), luminance(behind(node))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) faint.set(`${node.tagName}.${node.className}`, ratio);
    count += 1;
  }
  return { count, faint: [...faint] };
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read(seen: Browser, folder: Path, dark: bool) -> None:
    pages = [*folder.glob("*.html"), *(folder / "claims" / f"{name}.html" for name in (
        "p33_capacity", "p22_retry", "p33_biod"))]
    assert len(pages) == 6
    for page in pages:
        seen.look(page, PHONE, 844, dark=dark)
        seen.run(OPEN_ALL)
        found = seen.run(FAINT)
        assert found["count"] > 50 and found["faint"] == [], page


def test_dark_and_light_differ(seen: Browser, folder: Path) -> None:
    colours = set()
    for dark in (False, True):
        seen.look(folder / "index.html", DESK, dark=dark)
        colours.add(seen.run("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


def shown(seen: Browser) -> list[list[str]]:
    return list(seen.run("[...document.querySelectorAll('#all-quantities tbody tr')].filter((row) => !row.hidden)"
                         ".map((row) => [...row.cells].map((cell) => cell.dataset.value || cell.textContent.trim()))"))


def choose(seen: Browser, name: str, value: str) -> None:
    seen.run(f"(() => {{ const one = document.forms[0].elements[{name!r}]; one.value = {value!r}; "
             "one.dispatchEvent(new Event('input', { bubbles: true })); })()")


def test_the_table_is_filtered_and_sorted(seen: Browser, report: Report, folder: Path) -> None:
    judged = [(claim, one) for claim in report.claims for one in claim.judged]
    seen.look(folder / "quantities.html", DESK)
    assert len(shown(seen)) == len(judged), "controls show when they are asked for"
    choose(seen, "part", "3.2")
    assert len(shown(seen)) == sum(claim.part == "3.2" for claim, _ in judged) > 0
    choose(seen, "verdict", "not reproduced")
    wanted = [(claim.name, one.quantity) for claim, one in judged
              if claim.part == "3.2" and one.verdict == "not reproduced"]
    found = [(row[1], row[2]) for row in shown(seen)]  # words, and the name behind them
    assert wanted and all(name == claim and text.endswith(quantity) for (name, text), (claim, quantity)
                          in zip(found, wanted, strict=True))
    choose(seen, "part", "")
    choose(seen, "verdict", "")
    assert len(shown(seen)) == sum(len(claim.judged) + len(claim.others) for claim in report.claims)
    choose(seen, "text", "p1_encoder deep_gap")
    assert {(row[1], row[2].partition("@")[0][-len("deep_gap") :])
            for row in shown(seen)} == {("p1_encoder", "deep_gap")}
    choose(seen, "text", "")
    choose(seen, "verdict", "judged")
    whole = shown(seen)
    ours = [float(row[4]) for row in whole if row[4]]
    head = "[...document.querySelectorAll('#all-quantities thead button')].find((one) => one.textContent === 'ours')"
    for direction, order in (("ascending", sorted(ours)), ("descending", sorted(ours, reverse=True))):
        seen.run(f"{head}.click()")
        assert seen.run(f"{head}.parentElement.getAttribute('aria-sort')") == direction
        values = [row[4] for row in shown(seen)]
        assert [float(value) for value in values if value] == order and "" not in values[: len(order)]
    seen.run(f"{head}.click()")
    assert shown(seen) == whole and not seen.run("document.querySelectorAll('[aria-sort]').length")


def test_heads_give_way_to_a_menu_on_a_phone(seen: Browser, folder: Path) -> None:
    heads = "document.querySelector('#all-quantities thead').checkVisibility()"
    menu = "document.forms[0].elements.sort.checkVisibility()"
    seen.look(folder / "quantities.html", DESK)
    assert (seen.run(heads), seen.run(menu)) == (True, False)
    seen.look(folder / "quantities.html", PHONE)
    assert (seen.run(heads), seen.run(menu)) == (False, True)
    choose(seen, "sort", "n ↑")
    counts = [int(row[6]) for row in shown(seen) if row[6]]
    assert counts == sorted(counts)


def test_one_file_shows_the_page_in_the_address(seen: Browser, one_file: Path) -> None:
    views: Any = "[...document.querySelectorAll('.view')].filter((one) => one.checkVisibility()).map((one) => one.id)"
    for anchor, expected in (("", "wall"), ("#part-3-1", "wall"), ("#claim-p1_encoder", "claim-p1_encoder"),
                             ("#samples", "samples"), ("#task-grammar", "samples")):
        seen.look(one_file, PHONE, 844, anchor=anchor)
        assert seen.run(views) == [expected] and seen.run("document.documentElement.scrollWidth") == PHONE
    seen.run("document.querySelector('header a[href=\"#quantities\"]').click()")
    assert seen.run(views) == ["quantities"]
    assert seen.run("[...document.images].every((one) => one.src.startsWith('data:image/webp'))")
