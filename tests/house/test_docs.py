"""The pages of docs/ against the tree: the layout in the design, the files they name, the links between them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import walls
from tests.conftest import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob(".github/**/*.md")])
NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]
LAYOUT_LINE = re.compile(r" {4}(\S+) +(\S.*)")
OTHER_FOLDERS = {"ansible", "docs", "lesson", "tests"}
TABLE_OF_TESTS = "docs/design/tests.md"
FILE = re.compile(r"`((?:ansible|cli|docs|infra|jobs|lesson|tests)/[\w./-]+)`")
SIBLINGS = re.compile(r"`((?:ansible|cli|docs|infra|jobs|tests)/[\w./-]+)/\w+\.py`((?:,\s+`\w+\.py`)+)")
TRAINING_FILE = re.compile(r"`([\w/]+\.py)`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def packages() -> set[str]:
    """Return every folder with Python files in it, named from the root of the repository."""
    return {str(Path(name).parent) for name in walls.sources(REPOSITORY)}


def layout() -> dict[str, str]:
    """Return what the layout in the design says of each folder."""
    text = (REPOSITORY / "docs/design.md").read_text().partition("\n## Layout\n")[2]
    lines = [match for match in map(LAYOUT_LINE.fullmatch, text.splitlines()) if match]
    assert len({line[1] for line in lines}) == len(lines), "a folder is listed twice"
    return {line[1]: line[2] for line in lines}


def test_the_layout_lists_every_package_and_no_other():
    assert set(layout()) - OTHER_FOLDERS == packages()
    assert set(layout()) >= OTHER_FOLDERS


def test_the_layout_lists_a_package_below_the_one_that_it_is_in():
    listed = [folder for folder in layout() if folder not in OTHER_FOLDERS]
    assert listed == [name for part in walls.OURS for name in sorted(packages()) if f"{name}/".startswith(f"{part}/")]


def test_every_package_has_a_layer_and_every_layer_is_there():
    places = {place.replace(".", "/") for line in walls.LAYERS for place in line.split()}
    assert packages() <= places
    modules = places - packages()
    assert [name for name in modules if not (REPOSITORY / f"{name}.py").is_file()] == []


def test_the_page_on_tests_lists_every_folder_of_tests():
    rows = [line.split("|")[1] for line in (REPOSITORY / TABLE_OF_TESTS).read_text().splitlines() if "|" in line]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == {path.parent.name for path in (REPOSITORY / "tests").glob("*/*.py")}


def missing_files(page: Path) -> Iterator[str]:
    text = page.read_text()
    if page.name == "how-it-learns.md":  # it names the files of jobs/ from there
        yield from (name for name in TRAINING_FILE.findall(text) if not (REPOSITORY / "jobs" / name).is_file())
    named = FILE.findall(text)
    for folder, siblings in SIBLINGS.findall(text):  # `infra/ssh/connection.py`, `transport.py`
        named += [f"{folder}/{name}" for name in TRAINING_FILE.findall(siblings)]
    yield from (name for name in named if not (REPOSITORY / name).exists())


def test_there_are_pages_and_they_name_files_and_others():
    texts = [page.read_text() for page in PAGES]
    assert len(PAGES) > 15
    assert sum(len(FILE.findall(text)) for text in texts) > 80
    assert sum(len(LINK.findall(text)) for text in texts) > 30


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_file_that_a_page_names_is_there(page):
    assert list(missing_files(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_to_another_page_leads_there(page):
    targets = LINK.findall(page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_of_the_design_is_short_and_in_its_index():
    index = (REPOSITORY / "docs/design.md").read_text()
    pages = [page for page in PAGES if page.parent.parts[-2:] == ("docs", "design")]
    assert [page.name for page in pages if f"(design/{page.name})" not in index] == []
    assert [page.name for page in pages if len(page.read_text().splitlines()) > 160] == []


def pages_in(navigation: list[dict[str, object] | str]) -> Iterator[str]:
    """Yield the pages of a navigation of mkdocs.yml, at any depth."""
    for entry in navigation:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from pages_in(value) if isinstance(value, list) else [str(value)]


def test_the_site_has_every_page_once():
    settings = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    docs = REPOSITORY / "docs"
    assert sorted(pages_in(settings["nav"])) == sorted(str(page.relative_to(docs)) for page in docs.glob("**/*.md"))


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) < 200
