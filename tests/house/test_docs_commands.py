"""The commands in README.md and docs/: those in dry-run blocks are executed, those for AWS are titled so and parse."""

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cli.main import gpujob
from tests import words
from tests.conftest import REPOSITORY, Laptop
from tests.here import Here

BLOCK = re.compile(r"^```(\w*)(?: title=\"([^\"\n]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))]
DRY_RUN, AWS, OUTPUT = "Dry run", "AWS", "Output"
CODE = re.compile(r"# exits with (\d+)")
FILE = re.compile(r"[\w.-]+\.(py|toml|txt)")
NUMBER = re.compile(r"\d[\d.,:]*")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    title: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The commands, one on each line."""
        return [line for line in self.text.splitlines() if line]

    @property
    def shows_commands(self) -> bool:
        """Whether a line is a command of gpujob."""
        return any(line.startswith("gpujob ") for line in self.text.splitlines())


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    return [Block(page.name, title, text) for _, title, text in BLOCK.findall(page.read_text())]


BLOCKS = {page: read_blocks(page) for page in PAGES if page.name != "commands.md"}
EXECUTED = [page for page, blocks in BLOCKS.items() if any(block.title == DRY_RUN for block in blocks)]


def find_untitled(blocks: list[Block]) -> list[Block]:
    """Return the blocks with commands that do not say whether they need AWS."""
    return [block for block in blocks if block.shows_commands and block.title not in (DRY_RUN, AWS)]


def execute(laptop: Here, block: Block) -> tuple[Here, str]:
    """Type a block's commands, or write a block that is a file; return the laptop in its folder, and what gpujob said."""
    if FILE.fullmatch(block.title):
        laptop.write(block.title, block.text)
    said = ""
    for line in block.lines if block.title == DRY_RUN else []:
        if line.startswith("gpujob "):
            done = laptop.type(*shlex.split(line, comments=True)[1:])
            expected = CODE.search(line)
            assert done.code == (int(expected[1]) if expected else 0), f"{block.page}: {line}\n{done.said}"
            said += done.said
        elif line.startswith("cd "):
            laptop = replace(laptop, project=laptop.project / line[3:])
        else:
            shell = subprocess.run(["bash", "-c", line], cwd=laptop.project, check=False, capture_output=True)
            assert shell.returncode == 0, f"{block.page}: {line}\n{shell.stderr.decode()}"
    return laptop, said


def find_unsaid(block: Block, said: str) -> list[str]:
    """Return the lines of a block of output that were not said, in their order; other numbers are no difference."""
    lines = iter([NUMBER.sub("#", line).rstrip() for line in said.splitlines()])
    return [line for line in block.lines if line != "..." and NUMBER.sub("#", line).rstrip() not in lines]


@pytest.fixture(scope="module")
def folder_of_pages(rented: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Here:
    """Give the pages a project folder; "shared" is the only cluster unless a page launches its own."""
    project = tmp_path_factory.mktemp("pages") / "hello"
    project.mkdir()
    # Of several tests on a computer, the processes of each would wait for its threads.
    return Here(rented.home, project, {"GPUJOB_ENV": "OMP_NUM_THREADS=1"})


@pytest.fixture
def hello(folder_of_pages: Here) -> Here:
    """Give a page a folder with one script."""
    shutil.rmtree(folder_of_pages.project)
    shutil.copytree(REPOSITORY / "docs" / "hello", folder_of_pages.project)
    return folder_of_pages


def launches(blocks: list[Block]) -> bool:
    """Return whether the dry runs of a page launch a cluster."""
    lines = [line for block in blocks if block.title == DRY_RUN for line in block.lines]
    return any(line.startswith("gpujob up") and "--plan" not in line for line in lines)


@pytest.mark.timeout(600)  # ten commands and more, and on one page three trainings
@pytest.mark.parametrize("page", EXECUTED, ids=[str(page.relative_to(REPOSITORY)) for page in EXECUTED])
def test_the_dry_runs_of_a_page_work_as_shown(hello, page):
    place, said = hello, ""
    try:
        for block in BLOCKS[page]:
            if block.title == OUTPUT:
                assert find_unsaid(block, said) == [], said
            place, now = execute(place, block)
            said = now or said
    finally:
        if launches(BLOCKS[page]):
            place.type("down", place.project.name, "--if-exists", "--force")


def test_most_how_tos_have_a_dry_run_that_is_executed():
    assert {"README.md", "guide.md", "lessons.md", "tour.md", "data.md", "costs.md", "settings.md"} <= {
        page.name for page in EXECUTED
    }


@pytest.mark.parametrize("page", BLOCKS, ids=[str(page.relative_to(REPOSITORY)) for page in BLOCKS])
def test_every_block_with_commands_says_whether_it_needs_aws(page):
    assert find_untitled(BLOCKS[page]) == []


def test_every_command_for_aws_parses():
    shown = [
        words.Text(block.page, shlex.join(shlex.split(line, comments=True)[1:]))
        for blocks in BLOCKS.values()
        for block in blocks
        if block.title == AWS
        for line in block.lines
        if line.startswith("gpujob ")
    ]
    assert len(shown) > 20
    assert words.find_invalid(iter(shown), gpujob) == []


def test_a_block_without_a_title_and_a_failing_command_are_found(laptop):
    assert find_untitled([Block("a.md", "", "gpujob up\n"), Block("a.md", AWS, "gpujob up\n")]) == [
        Block("a.md", "", "gpujob up\n")
    ]
    with pytest.raises(AssertionError, match=r"a\.md: gpujob logs 7"):
        execute(Here(laptop.home, laptop.project), Block("a.md", DRY_RUN, "gpujob logs 7   # no such job\n"))
    with pytest.raises(AssertionError, match=r"a\.md: cat missing"):
        execute(Here(laptop.home, laptop.project), Block("a.md", DRY_RUN, "cat missing\n"))


def test_output_that_a_page_shows_and_no_command_printed_is_found():
    shown = Block("a.md", OUTPUT, "epoch 1: accuracy 0.93\n...\ndone\n")
    assert find_unsaid(shown, "epoch 1: accuracy 0.91\nepoch 2: accuracy 0.95\ndone\n") == []
    assert find_unsaid(shown, "epoch 1: accuracy 0.91\nfailed\n") == ["done"]
    assert find_unsaid(shown, "done\nepoch 1: accuracy 0.91\n") == ["done"]
