"""Which outputs a manifest names while a job runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.node.agent.bucket.choice import choose
from infra.node.agent.bucket.history import LASTING, History


def output(path: str, version: str = "1", size_bytes: int = 1) -> dict[str, Any]:
    return {"path": path, "outside": False, "sha256": version, "size_bytes": size_bytes, "link": None}


class Attempt:
    """Round after round of uploads, without any bucket."""

    def __init__(self, *named: dict[str, Any]) -> None:
        """Start with these outputs in the last manifest."""
        self.named, self.history = [*named], History()

    def look(self, *outputs: dict[str, Any], there: str = "", unfinished: Sequence[str] = ()) -> dict[str, str]:
        """Return the version of each file that the next manifest names if the bucket has these versions."""

        def find(entry: Mapping[str, Any]) -> dict[str, Any] | None:
            return {**entry} if entry["sha256"] in there else None

        self.history.begin(outputs, unfinished)
        self.named = choose(outputs, find, self.named, self.history).entries
        return {each["path"]: each["sha256"] for each in self.named}


def test_a_file_that_is_on_its_way_stays_as_it_was():
    assert Attempt(output("last", "1")).look(output("last", "2"), there="1") == {"last": "1"}


def test_what_was_removed_stays_until_nothing_is_to_come():
    before = output("step-1"), output("log")
    assert Attempt(*before).look(output("step-2", "2"), there="1") == {"step-1": "1", "log": "1"}
    assert Attempt(*before).look(output("step-2", "2"), there="12") == {"step-2": "2"}
    assert Attempt(*before).look(there="1", unfinished=["step-2"]) == {"step-1": "1", "log": "1"}
    assert Attempt(*before).look(output("step-2", "2"), there="12", unfinished=["log"]) == {"step-2": "2", "log": "1"}
    assert Attempt(*before).look(output("step-2", "2"), there="12", unfinished=["steps.csv"]) == {"step-2": "2"}


def test_a_checkpoint_that_is_written_for_many_rounds_keeps_the_one_before_it_until_it_is_there():
    old, new = output("step-1", "1", 100), output("step-2", "2", 99)
    for removed_first in (True, False):
        attempt = Attempt()
        attempt.look(old, there="1")
        for _ in range(10 * LASTING):
            assert attempt.look(*([] if removed_first else [old]), there="1", unfinished=["part"]) == {"step-1": "1"}
        assert attempt.look(there="1", unfinished=["part"]) == {"step-1": "1"}  # it was written to a moment ago
        for _ in range(10 * LASTING):
            assert attempt.look(new, there="1") == {"step-1": "1"}
        assert attempt.look(new, there="12") == {"step-2": "2"}


def test_so_do_the_parts_of_one_that_are_written_one_after_the_other():
    old, new = ([output(f"{name}{version}", version, 100) for name in "abc"] for version in "12")
    attempt = Attempt()
    attempt.look(*old, there="1")
    for count in range(3):
        for _ in range(2 * LASTING):
            found = attempt.look(*new[:count], there="12", unfinished=[f"part-{count}"])
            assert {each["path"] for each in old} <= found.keys()
    assert attempt.look(*new, there="12") == {each["path"]: "2" for each in new}


def test_all_files_of_a_checkpoint_are_there_before_those_of_the_one_before_it_are_not():
    old, new = ([output(f"{name}{version}", version, 100) for name in "abc"] for version in "12")
    attempt = Attempt()
    attempt.look(*old, there="1")
    for _ in range(2 * LASTING):
        attempt.look(*old, there="1", unfinished=["a2"])
    for _ in range(2 * LASTING):
        attempt.look(*old, new[0], there="12", unfinished=["b2"])
    assert attempt.look(*new[:2], there="12", unfinished=["c2"]) == {
        **{each["path"]: "1" for each in old},
        **{"a2": "2", "b2": "2"},
    }
    assert attempt.look(*new, there="12") == {each["path"]: "2" for each in new}


def test_nothing_that_was_removed_waits_for_a_file_that_is_written_as_long_as_the_job_runs():
    attempt = Attempt()
    for step in range(1, 10):
        whole, open_files = output("last", str(step), 100), ["notes"]
        for _ in range(2 * LASTING):
            attempt.look(output(f"step-{step}", str(step), 100), there=str(step), unfinished=open_files)
        assert [each["path"] for each in attempt.named if each["path"] != whole["path"]] == [f"step-{step}"]


def test_what_an_attempt_resumed_from_waits_for_such_a_file_only_until_as_many_bytes_have_come():
    attempt = Attempt(output("step-1", "1", 100))
    attempt.look(output("step-1", "1", 100), output("step-2", "2", 100), there="12", unfinished=["notes"])
    for _ in range(2 * LASTING):
        assert attempt.look(output("step-2", "2", 100), there="12", unfinished=["notes"]).keys() == {"step-1", "step-2"}
    assert attempt.look(output("step-3", "3", 100), there="23", unfinished=["notes"]) == {"step-3": "3"}


def test_what_was_removed_waits_for_files_that_are_always_written_until_as_many_bytes_have_come():
    attempt = Attempt()
    attempt.look(output("step-1", "1", 100), there="1")
    for number in range(9 * LASTING):
        assert attempt.look(there="1", unfinished=[f"part-{number}"]) == {"step-1": "1"}
    parts = {f"part-{number}": str(number) for number in range(2, 6)}
    for count in range(1, 5):
        there = [output(path, version, 25) for path, version in parts.items()][:count]
        assert ("step-1" in attempt.look(*there, there="12345", unfinished=["part-0"])) == (count < 4)


def test_what_was_removed_does_not_wait_for_uploads_of_what_came_long_after():
    attempt = Attempt()
    attempt.look(output("step-1"), there="1")
    waits = [
        "step-1" in attempt.look(*(output(f"sample-{number + each}", "x") for each in range(2)), there="1")
        for number in range(9)
    ]
    assert waits == [True] * (LASTING + 2) + [False] * (7 - LASTING)


def test_nor_for_a_file_that_each_round_finds_replaced():
    attempt = Attempt(output("last"))
    for step in range(2 * LASTING):
        attempt.look(output("last", str(step)))
    attempt.look(output("last"), output("step-1", "7"), there="7")
    assert attempt.look(output("last", "9"), there="7") == {"last": "1"}


def test_a_new_folder_is_named_whole_and_a_known_one_file_by_file():
    new, known = output("new/2/a"), output("known/a", "1")
    late = output("new/b", "2")
    assert Attempt(known).look(new, late, output("x"), there="1") == {"x": "1", "known/a": "1"}
    assert Attempt(known).look(known, output("known/b", "2"), output("known/c"), there="1") == {
        "known/a": "1",
        "known/c": "1",
    }
    attempt = Attempt()
    assert attempt.look(new, there="1", unfinished=["new/log"]) == {}
    assert attempt.look(new, there="1", unfinished=["new/log"]) == {"new/2/a": "1"}


def test_a_file_and_a_folder_of_one_name_are_never_both_named():
    late = output("late", "2")
    assert Attempt(output("a")).look(output("a/b"), late, there="1") == {"a/b": "1"}
    assert Attempt(output("a/b")).look(output("a"), late, there="1") == {"a": "1"}


def test_a_file_that_was_begun_when_the_last_one_was_hardly_complete_keeps_it_however_much_is_logged():
    attempt = Attempt()
    attempt.look(unfinished=["step-1", "part"])
    for _ in range(2 * LASTING):
        attempt.look(output("step-1", "1", 100), there="1", unfinished=["part"])
    for size_bytes in (100, 200):
        steps = output("steps.csv", str(size_bytes), size_bytes)
        assert "step-1" in attempt.look(steps, there="1100200", unfinished=["part", "steps.csv"])
