"""Which outputs a manifest names while a job runs."""

from collections.abc import Mapping
from typing import Any

from infra.node.agent.bucket.choice import LASTING, choose


def output(path: str, version: str = "1") -> dict[str, Any]:
    return {"path": path, "outside": False, "sha256": version, "size_bytes": 1, "link": None}


def name(
    *outputs: dict[str, Any], there: str = "", before: tuple = (), restless: Mapping[str, int] | None = None
) -> dict:
    """Return the version of each file that a manifest names if the bucket has these versions of its contents."""

    def find(entry: Mapping[str, Any]) -> dict[str, Any] | None:
        return {**entry} if entry["sha256"] in there else None

    chosen = choose(outputs, find, before, restless or {})
    return {each["path"]: each["sha256"] for each in chosen.entries}


def test_a_file_that_is_on_its_way_stays_as_it_was():
    assert name(output("last", "2"), there="1", before=(output("last", "1"),)) == {"last": "1"}


def test_what_was_removed_stays_until_nothing_is_to_come():
    before = (output("step-1"), output("log"))
    assert name(output("step-2", "2"), there="1", before=before) == {"step-1": "1", "log": "1"}
    assert name(output("step-2", "2"), there="12", before=before) == {"step-2": "2"}
    assert name(there="1", before=before, restless={"step-2": 1}) == {"step-1": "1", "log": "1"}
    assert name(output("step-2", "2"), there="12", before=before, restless={"log": LASTING + 1}) == {
        "step-2": "2",
        "log": "1",
    }


def test_a_new_folder_is_named_whole_and_a_known_one_file_by_file():
    new, known = output("new/2/a"), (output("known/a", "1"),)
    assert name(new, output("new/b", "2"), output("x"), there="1", before=known) == {"x": "1", "known/a": "1"}
    assert name(output("known/a", "1"), output("known/b", "2"), output("known/c"), there="1", before=known) == {
        "known/a": "1",
        "known/c": "1",
    }
    assert name(new, there="1", restless={"new/log": 1}) == {}
    assert name(new, there="1", restless={"new/log": 2}) == {"new/2/a": "1"}


def test_a_file_and_a_folder_of_one_name_are_never_both_named():
    late = output("late", "2")
    assert name(output("a/b"), late, there="1", before=(output("a"),)) == {"a/b": "1"}
    assert name(output("a"), late, there="1", before=(output("a/b"),)) == {"a": "1"}
