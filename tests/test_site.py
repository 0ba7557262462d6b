"""The documentation site: every page can be found, no link is dead, nothing comes from other hosts; and as a browser
shows it, where there is one."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import MISSING, PROGRAM, Browser, browser
from extras import of_extra

of_extra("zensical", "docs")
import make_site  # noqa: E402

ROOT = Path(__file__).parents[1]
PHONE = 390
ELSEWHERE = re.compile(r"(https?:)?//|mailto:")


class Page(HTMLParser):
    """Links, what it loads, anchors, and the links of its navigation."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.navigation: list[str] = []
        self.ids: set[str] = set()
        self.undescribed: list[str] = []
        self._navs = 0
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._navs += tag == "nav"
        self.ids |= {name for name in (given.get("id"), given.get("name") if tag == "a" else None) if name}
        if tag in ("a", "link") and (href := given.get("href")):
            self.links.append(href)
            if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
                self.loaded.append(href)
            if tag == "a" and self._navs:
                self.navigation.append(href)
        if src := given.get("src"):
            self.links.append(src)
            self.loaded.append(src)
        if tag == "img" and not given.get("alt"):
            self.undescribed.append(src or "")

    def handle_endtag(self, tag: str) -> None:
        self._navs -= tag == "nav"

    def files(self, links: list[str]) -> Iterator[tuple[Path, str]]:
        """File and anchor of the links that stay within the site."""
        for link in links:
            if not ELSEWHERE.match(link) and not link.startswith("data:"):
                target, _, anchor = link.partition("#")
                yield (self.path.parent / unquote(target)).resolve() if target else self.path, unquote(anchor)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    make_site.main(folder)
    return folder.resolve()


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """All but those of the report, which has tests of its own, and the page of an address that is not there."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))
            if not path.is_relative_to(site / "report") and path.name != "404.html"}


def html(site: Path, source: Path) -> Path:
    """The page that was made of a file of the checkout."""
    return site / source.relative_to(ROOT).with_suffix(".html")


def test_every_page_and_notebook_is_in_the_navigation(site: Path, pages: dict[Path, Page]) -> None:
    start = pages[site / "index.html"]
    found = {target for target, _ in start.files(start.navigation)}
    sources = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    assert len(sources) > 25 and found >= {html(site, path) for path in sources}
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "physlm").rglob("__init__.py")}
    assert found >= {site / "api" / f"{name}.html" for name in packages}
    assert found >= {site / "index.html", site / "commands.html", site / "report" / "index.html"}
    for path, page in pages.items():
        assert {target for target, _ in page.files(page.navigation)} >= found, f"{path}: other navigation"


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for target, anchor in page.files(page.links):
            assert target.is_file(), f"{path}: {target}"
            if anchor and target in pages and not anchor.startswith("__"):
                assert anchor in pages[target].ids, f"{path}: {target}#{anchor}"


def test_nothing_is_loaded_from_other_hosts_and_pictures_have_words(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert not [link for link in page.loaded if ELSEWHERE.match(link)], path
        assert not page.undescribed, path


def test_notebooks_show_their_pictures_tables_and_formulas(site: Path, pages: dict[Path, Page]) -> None:
    for source in (ROOT / "notebooks").glob("*.ipynb"):
        page = pages[html(site, source)]
        assert [link for link in page.loaded if link.startswith(f"{source.stem}-")], "a picture"
        text = page.path.read_text()
        assert 'class="dataframe"' not in text and "$$" not in text
    tour = html(site, ROOT / "notebooks" / "part1_grammars.ipynb").read_text()
    assert "<table" in tour and '<math xmlns="http://www.w3.org/1998/Math/MathML"' in tour


def test_docstrings_and_help_texts_are_there(site: Path) -> None:
    text = re.sub(r"<[^>]*>", "", (site / "api" / "physlm.laws.html").read_text())
    assert "physlm.laws.verdict" in text and "Raises:" in text
    assert "physlm run p33_capacity --tier demo" in re.sub(r"<[^>]*>", "", (site / "commands.html").read_text())


@pytest.mark.parametrize("broken", ["[gone](gone.md)", "[gone](other.md#gone)", "::: physlm.gone"])
def test_a_dead_link_fails_the_build(tmp_path: Path, broken: str) -> None:
    for name, text in (("index", "[there](other.md#there)"), ("other", "## There")):
        make_site._write(tmp_path / "pages" / f"{name}.md", f"# {name}\n\n{text}\n".encode())
    nav: make_site.Nav = [{"Start": "index.md"}, {"Other": "other.md"}]
    make_site.build(tmp_path, nav)
    assert (tmp_path / "site" / "other.html").is_file()
    make_site._write(tmp_path / "pages" / "index.md", f"# index\n\n{broken}\n".encode())
    with pytest.raises(SystemExit, match="zensical failed"):
        make_site.build(tmp_path, nav)


# ---- As a browser shows it


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    with browser(tmp_path_factory.mktemp("browser")) as shown:
        yield shown


def test_no_page_scrolls_sideways_on_a_phone(seen: Browser, pages: dict[Path, Page]) -> None:
    for path in pages:
        seen.look(path, PHONE, 844)
        assert seen.run("document.documentElement.scrollWidth") == PHONE, path


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site as a server shows it."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_what_a_page_shows_has_come_from_the_site(seen: Browser, address: str) -> None:
    for name in ("index.html", "notebooks/part1_grammars.html", "api/physlm.tasks.html"):
        seen.call("Page.navigate", url="about:blank")
        seen.call("Page.navigate", url=address + name)
        wait(seen, f"location.href === {address + name!r} && document.readyState === 'complete'")
        loaded = seen.run("performance.getEntriesByType('resource').map((one) => one.name)")
        assert loaded and all(one.startswith((address, "data:", "blob:")) for one in loaded), loaded


def wait(seen: Browser, condition: str) -> None:
    deadline = time.monotonic() + 60
    while not seen.run(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
