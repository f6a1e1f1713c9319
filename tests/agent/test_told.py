"""While a job runs, its outputs are listed again and again: only what has changed is sent, and the client has all of it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import NodeError
from infra.fetch import outputs as fetching
from infra.fetch.outputs import Wanted, fetch
from infra.model import Output
from infra.node import client
from infra.node.agent.outputs.told import tell
from infra.node.listing import JobReply, Outputs, update
from tests import agent_fixtures as fixtures
from tests.bench.growth.machine import Machine, start
from tests.conftest import wait_for

node = fixtures.node
NAMES = st.sampled_from([(False, "a"), (True, "a"), (False, "b/c"), (False, "d")])
LISTINGS = st.lists(st.dictionaries(NAMES, st.integers(0, 2)), min_size=1, max_size=6)
JOB = JobReply(1, "", ("x",), "running", "", (), None, 1.0, 2.0, None, None, 3.0, 0, False, "", "", "", now=1.0)
WRITE = "import os, sys; os.mkdir('out'); [open(f'out/{n}', 'w').write(str(n)) for n in range(int(sys.argv[1]))]"


def entry(key: tuple[bool, str], size: int) -> dict[str, Any]:
    outside, path = key
    return {"path": path, "outside": outside, "size_bytes": size, "sha256": "0" * 64, "mode": 0o644}


def receive(before: Outputs | None, answer: dict[str, Any]) -> Outputs:
    """What the client makes of an answer, with what it knew before."""
    return update(
        before, client.decode(Outputs, {**answer, "job": json.loads(json.dumps(vars(JOB))), "unreadable": []})
    )


@given(LISTINGS, st.sets(st.integers(0, 5)))
def test_the_client_has_each_listing_whole_also_where_an_answer_was_lost(tmp_path, listings, lost):
    record, known = tmp_path / "sent.json", None
    record.unlink(missing_ok=True)
    for at, listing in enumerate(listings):
        outputs = [entry(key, size) for key, size in listing.items()]
        answer = json.loads(json.dumps(tell(record, outputs, known.token if known else "", True)))
        if at not in lost:
            known = receive(known, answer)
            found = {(each.outside, each.path): each.size_bytes for each in known.outputs}
            assert found == listing


def test_of_an_unchanged_listing_nothing_is_sent_and_of_another_the_difference(tmp_path):
    record = tmp_path / "sent.json"
    many = [entry((False, str(number)), number) for number in range(100)]
    first = tell(record, many, "", True)
    stamp = record.stat().st_mtime_ns
    again = tell(record, many, first["token"], True)
    assert (again["outputs"], again["gone"], again["token"]) == ([], [], first["token"])
    assert record.stat().st_mtime_ns == stamp
    third = tell(record, [*many[1:], entry((False, "new"), 1)], first["token"], True)
    assert [each["path"] for each in third["outputs"]] == ["new"]
    assert third["gone"] == [{"path": "0", "outside": False}]


def test_a_full_or_damaged_disk_costs_only_the_difference(tmp_path):
    listing = [entry((False, "a"), 1)]
    assert tell(tmp_path / "missing/sent.json", listing, "", True) == {
        "outputs": listing, "gone": [], "since": "", "token": "",
    }  # fmt: skip


def test_a_node_cannot_make_the_client_believe_in_a_listing_that_it_does_not_have(tmp_path):
    whole = Outputs(JOB, (Output("a", 1, "0" * 64, 0o644),), (), token="1")
    for since in ("2", "0"):
        with pytest.raises(NodeError, match="unknown listing"):
            update(whole, Outputs(JOB, (), (), token="3", since=since))
    with pytest.raises(NodeError, match="unknown listing"):
        update(None, Outputs(JOB, (), (), token="3", since="1"))


def count_calls(action: Callable[[], object]) -> int:
    """How many functions an action calls, also in C."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls


def fetch_settled(machine: Machine, number: int, runs: Path, count: int) -> fetching.Fetched:
    """Download a job's outputs as while it runs, until all are old enough."""
    found: list[fetching.Fetched] = []

    def look() -> bool:
        before = found[-1] if found else None
        found.append(fetch(machine.connection, number, runs, lambda _: None, Wanted(settled=True, before=before)))
        return len(found[-1].told.outputs) == count

    wait_for(look, "all outputs")
    return found[-1]


def test_a_fetch_takes_so_many_calls_for_each_output_and_a_round_without_news_always_the_same(tmp_path):
    firsts, rounds, runs = [], [], tmp_path / "runs"
    with start(tmp_path) as machine:
        for count in (3, 103):
            number = machine.run_job("python3", "-c", WRITE, str(count)).number
            last = fetch_settled(machine, number, runs, count)
            again = Wanted(settled=True, before=last)
            rounds.append(
                count_calls(
                    lambda number=number, again=again: fetch(machine.connection, number, runs, lambda _: None, again)
                )
            )
            other = tmp_path / "other"
            firsts.append(
                count_calls(lambda number=number, other=other: fetch(machine.connection, number, other, lambda _: None))
            )
            assert len(list((runs / f"growth-{number}/files/out").iterdir())) == count
    assert rounds[1] < rounds[0] * 1.2, rounds
    assert firsts[1] - firsts[0] < 100 * 300, firsts


def test_the_agent_answers_with_a_difference(node):
    number = node.submit("sh", "-c", "echo x > x")
    node.wait(number)
    first: dict[str, Any] = {}

    def look() -> bool:
        first.update(json.loads(node.ask("outputs", str(number), "--settled")))
        return bool(first["outputs"])

    wait_for(look, "the output")
    second = json.loads(node.ask("outputs", str(number), "--settled", f"--since={first['token']}"))
    assert (second["outputs"], second["since"]) == ([], first["token"])
    (node.home / f".gpujob/work/{number}/project/x").unlink()
    third = json.loads(node.ask("outputs", str(number), "--settled", f"--since={first['token']}"))
    assert (third["outputs"], third["gone"]) == ([], [{"path": "x", "outside": False}])
    fourth = json.loads(node.ask("outputs", str(number), "--settled", "--since=0"))
    assert (fourth["outputs"], fourth["since"]) == ([], "")
    listing = node.home / f".gpujob/jobs/{number}/sent.json"
    assert listing.exists()
    node.ask("fetched", str(number))
    assert not listing.exists(), "it is needed only while the job runs"
