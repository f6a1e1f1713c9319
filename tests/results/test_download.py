"""Which outputs cross the network, and what becomes of those here that the job has removed; without a node."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from infra.fetch.download import Download, fill, remove_gone
from infra.fetch.outputs import EVERYTHING, Wanted, shelve, take_all
from infra.fetch.sources import NodeSource
from infra.model import Cluster, Gpu, Job, Node, Output
from infra.node.listing import JobReply, Outputs
from infra.results.folder import open_outside, open_results, write_receipt
from infra.results.receipts import Receipt, make_receipt
from infra.results.shelf import Shelf
from infra.ssh import carry

CLUSTER = Cluster("c", "local", "r", (Node("i-1", "running", "h", 22, "t", "z"),), Gpu("T4"), 0.5, 2e9, 1.7e9, "o")
RUNNING = Job(1, "", ("x",), "running", "", (), None, 1.0, 2.0, None, None, 3.0, 0, False, "", "", "")
OVER = replace(RUNNING, state="succeeded", exit_code=0, ended_at=4.0)
TOLD = JobReply(**vars(RUNNING), now=1.0)


class Wire:
    """A node that has what it is asked for, and counts what crosses the network."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.sent: list[str] = []

    def output(self, path: str, content: bytes, outside: bool = False, same_as: str = "") -> Output:
        """A file of the node."""
        self.contents[path] = content
        return Output(path, len(content), hashlib.sha256(content).hexdigest(), 0o644, None, outside, same_as)

    def receive(self, _: object, __: object, wanted: dict[Output, int], take: Callable[..., None]) -> None:
        """Send these files, as `carry.receive` does."""
        for output in wanted:
            self.sent.append(output.path)
            take(output, iter([self.contents[output.path]]))


@pytest.fixture
def wire(monkeypatch) -> Wire:
    node = Wire()
    monkeypatch.setattr(carry, "receive", node.receive)
    return node


@contextmanager
def opened(runs: Path, job: Job = RUNNING) -> Iterator[list[Shelf]]:
    """Both shelves of a job, whose receipt is written at the end as a fetch writes it."""
    with open_results(runs, CLUSTER, job) as results, open_outside(results) as outside:
        shelves = [Shelf(results), Shelf(outside, outside=True)]
        yield shelves
        receipt: Receipt = make_receipt(CLUSTER, job, ())
        for shelf in shelves:
            receipt = shelve(receipt, shelf, list(shelf.outputs.values()), Wanted(settled=not job.over))
        write_receipt(results, receipt)


def get(shelves: list[Shelf], outputs: list[Output], job: Job = RUNNING, choose=take_all) -> tuple[list, list]:
    source = NodeSource(None, job.number)  # type: ignore[arg-type]
    return fill(Download(source, job, not job.over, lambda _: None), shelves, outputs, choose)


def told(*outputs: Output, **more: tuple[str, ...]) -> Outputs:
    return Outputs(**{"job": TOLD, "outputs": outputs, "unreadable": (), **more})


def test_a_file_with_three_names_crosses_the_network_once_and_is_one_file_here(tmp_path, wire):
    first = wire.output("a", b"weights")
    others = [wire.output("ck/b", b"weights", same_as="a"), wire.output("c", b"weights", same_as="a")]
    with opened(tmp_path) as shelves:
        assert get(shelves, [first, *others]) == ([], [])
        later = wire.output("d", b"weights", same_as="a")
        get(shelves, [first, *others, later])
    assert wire.sent == ["a"]
    assert len({(tmp_path / "c-1/files" / name).stat().st_ino for name in ("a", "ck/b", "c", "d")}) == 1


def test_a_second_name_of_a_file_that_was_changed_here_crosses_the_network(tmp_path, wire):
    first, second = wire.output("a", b"weights"), wire.output("b", b"weights", same_as="a")
    with opened(tmp_path) as shelves:
        get(shelves, [first])
        (tmp_path / "c-1/files/a").write_text("mine")
        get(shelves, [first, second])
    assert wire.sent == ["a", "b"]
    assert [(tmp_path / "c-1/files" / name).read_text() for name in "ab"] == ["mine", "weights"]


def test_a_node_that_calls_two_different_files_one_fools_nobody(tmp_path, wire):
    with opened(tmp_path) as shelves:
        get(
            shelves,
            [wire.output("a", b"one"), wire.output("b", b"two", same_as="a"), wire.output("c", b"c", same_as="x")],
        )
    assert [(tmp_path / "c-1/files" / name).read_text() for name in "abc"] == ["one", "two", "c"]


def test_two_files_that_hold_the_same_are_two_files_here(tmp_path, wire):
    with opened(tmp_path) as shelves:
        get(shelves, [wire.output("a", b"same"), wire.output("b", b"same")])
    (tmp_path / "c-1/files/a").write_text("changed")
    assert (tmp_path / "c-1/files/b").read_text() == "same"


def test_what_is_not_chosen_stays_and_is_told(tmp_path, wire):
    small, big = wire.output("small", b"1"), wire.output("big", b"12")
    with opened(tmp_path) as shelves:
        assert get(shelves, [big, small], choose=lambda missing: [small]) == ([], [big])
    assert wire.sent == ["small"]


def test_what_lies_outside_shares_no_folder_with_what_lies_inside(tmp_path, wire):
    inside, outside = wire.output("home/x", b"in"), wire.output("home/x", b"out", outside=True)
    wire.contents = {"home/x": b"in"}
    with opened(tmp_path) as shelves:
        get(shelves, [inside])
        wire.contents = {"home/x": b"out"}
        get(shelves, [inside, outside])
    assert (tmp_path / "c-1/files/home/x").read_text() == "in"
    assert (tmp_path / "c-1/outside/home/x").read_text() == "out"


def test_what_the_job_has_removed_is_removed_here_with_its_folder(tmp_path, wire):
    kept, gone = wire.output("ck-2/model", b"2"), wire.output("ck-1/model", b"1")
    with opened(tmp_path) as shelves:
        get(shelves, [kept, gone])
    with opened(tmp_path) as shelves:
        assert remove_gone(shelves[0], RUNNING, told(kept)) == ["ck-1/model"]
    assert [path.name for path in (tmp_path / "c-1/files").iterdir()] == ["ck-2"]
    with opened(tmp_path) as shelves:
        assert list(shelves[0].outputs) == ["ck-2/model"]


@pytest.mark.parametrize(
    ("job", "more"),
    [
        (RUNNING, {"unsettled": ("a",)}),
        (RUNNING, {"unreadable": (".",)}),
        (replace(OVER, state="interrupted", exit_code=None), {}),
    ],
)
def test_nothing_is_removed_that_may_still_be_there(tmp_path, wire, job, more):
    with opened(tmp_path) as shelves:
        get(shelves, [wire.output("a", b"1")])
    with opened(tmp_path) as shelves:
        assert remove_gone(shelves[0], job, told(**more)) == []
    assert (tmp_path / "c-1/files/a").read_text() == "1"


def test_what_was_changed_here_is_not_removed(tmp_path, wire):
    with opened(tmp_path) as shelves:
        get(shelves, [wire.output("a", b"1")])
        (tmp_path / "c-1/files/a").write_text("mine")
        assert remove_gone(shelves[0], RUNNING, told()) == []
    assert (tmp_path / "c-1/files/a").read_text() == "mine"


def test_what_was_verified_once_the_job_was_over_is_never_removed(tmp_path, wire):
    with opened(tmp_path, OVER) as shelves:
        get(shelves, [wire.output("a", b"1")], OVER)
    with opened(tmp_path, OVER) as shelves:
        assert remove_gone(shelves[0], OVER, told()) == []
    assert (tmp_path / "c-1/files/a").read_text() == "1"


def test_no_link_that_was_planted_here_leads_the_removal_elsewhere(tmp_path, wire):
    with opened(tmp_path) as shelves:
        get(shelves, [wire.output("ck/a", b"1")])
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").write_text("1")
    (tmp_path / "c-1/files/ck/a").unlink()
    (tmp_path / "c-1/files/ck").rmdir()
    (tmp_path / "c-1/files/ck").symlink_to(tmp_path / "other")
    with opened(tmp_path) as shelves:
        assert remove_gone(shelves[0], RUNNING, told()) == []
    assert (tmp_path / "other/a").read_text() == "1"


def test_twice_as_many_outputs_take_no_more_than_twice_the_comparisons(tmp_path, wire, monkeypatch):
    counts, plain = [], Output.__eq__

    def count(self: Output, other: object) -> bool:
        counts[-1] += 1
        return plain(self, other)

    monkeypatch.setattr(Output, "__eq__", count)
    for number in (200, 400):
        counts.append(0)
        outputs = [wire.output(f"{index}", str(index).encode()) for index in range(number)]
        with opened(tmp_path / str(number)) as shelves:
            assert get(shelves, outputs) == ([], [])
            assert get(shelves, outputs) == ([], [])
            remove_gone(shelves[0], RUNNING, told(*outputs))
            shelve(make_receipt(CLUSTER, RUNNING, ()), shelves[0], outputs, EVERYTHING)
    assert counts[1] <= 2.1 * counts[0] + 10, counts
