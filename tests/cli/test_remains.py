"""How much is downloaded unasked, and what is said of the rest."""

import io
import os
import pty
from collections.abc import Callable, Iterator

import pytest

from cli.notices import remains
from infra.errors import LossError
from infra.launch import power
from infra.model import Cluster, Gpu, Node, Output
from infra.node.listing import Held, Left

GB = 1_000_000_000
BIG, SMALL = Output("ck/big.pt", 3 * GB, "0" * 64, 0o644), Output("metrics.json", 10, "1" * 64, 0o644)


@pytest.fixture
def terminal(monkeypatch) -> Iterator[Callable[[bytes], int]]:
    """A terminal on which something can be typed."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "r", encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield lambda text: os.write(master, text)
    os.close(master)


def test_little_is_downloaded_without_a_question():
    assert remains.make_chooser(yes=False)([SMALL]) == [SMALL]


def test_without_a_terminal_the_small_files_come_and_the_rest_waits(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert remains.make_chooser(yes=False)([BIG, SMALL]) == [SMALL]
    assert remains.make_chooser(yes=True)([BIG, SMALL]) == [BIG, SMALL]


@pytest.mark.parametrize(("typed", "chosen"), [(b"y\n", [BIG, SMALL]), (b"\n", [BIG, SMALL]), (b"n\n", [SMALL])])
def test_on_a_terminal_it_is_asked_once_with_the_largest_folders(terminal, capsys, typed, chosen):
    choose = remains.make_chooser(yes=False)
    terminal(typed)
    assert [choose([BIG, SMALL]), choose([BIG, SMALL])] == [chosen, chosen]
    said = capsys.readouterr().err
    assert said.count("Download 3.0 GB?") == 1
    assert "ck/" in said


def test_without_an_answer_it_is_downloaded_since_the_machine_may_end(terminal, monkeypatch):
    monkeypatch.setattr(remains, "ANSWER_S", 0.01)
    assert remains.make_chooser(yes=False)([BIG]) == [BIG]


def test_down_asks_nothing(terminal):
    terminal(b"y\n")
    assert remains.make_chooser(yes=False, may_ask=False)([BIG, SMALL]) == [SMALL]


def test_what_stays_is_named_with_a_command_that_is_safe_to_type(capsys):
    held = [Held("my data/$(x)", 2, 3000), Held("esc\x1b[2J", 1, 1)]
    remains.say_groups("not downloaded", held, "gpujob fetch 1")
    said = capsys.readouterr().err
    assert "my data/$(x) (2 files, 3.0 kB)" in said
    assert "gpujob fetch 1 --output 'my data/$(x)'\n" in said
    assert "\x1b" not in said


def test_what_several_jobs_may_have_left_bears_their_numbers_and_a_lie_of_the_node_is_no_crash(capsys):
    left = [Left("~/a", 1, 1, (2, 3), minor=False), Left("~/b", 1, 1, (), minor=False)]
    remains.show_left(left, "c")
    assert "not downloaded (outside the working folder of job 2 (or 3)): ~/a (1 byte)" in capsys.readouterr().err


def test_stop_refuses_to_lose_what_lies_on_a_disk_of_the_machine_itself():
    cluster = Cluster("c", "aws", "r", (Node("i", "running", "h", 22, "t", "z"),), Gpu("T4"), 0.5, 2e9, 1.7e9, "o")
    power.check_left(cluster, [Left("~/a", 1, 1, (1,), minor=False)], "--force stops it anyway")
    with pytest.raises(LossError) as refused:
        power.check_left(cluster, [Left("/scratch/a b", 1, 1, (1,), minor=False)], "--force stops it anyway")
    assert refused.value.hint == "gpujob fetch --cluster c 1 --output '/scratch/a b'; --force stops it anyway"
