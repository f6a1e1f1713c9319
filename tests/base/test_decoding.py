"""A node is not trusted: whatever it answers, the client makes sense of it or says in one line that it is invalid."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cli.job import receipts, top
from cli.notices import jobs
from infra.base.decoding import decode
from infra.errors import GpujobError, NodeError
from infra.model import Cluster, Gpu, Job, Node, Output
from infra.node import calls, client, packing
from infra.project.filelist import list_files
from infra.results.filenames import make_inert, read_path
from infra.results.receipts import make_receipt
from infra.ssh.commands import Answer

NOTHING = SimpleNamespace(early={}, on_node="")
"""A connection, of which nothing is used."""
FILES = list_files(Path("/"), ())
RECORD = {
    "number": 1,
    "name": "best",
    "command": ["python", "train.py"],
    "state": "running",
    "reason": "",
    "gpus": [0],
    "exit_code": None,
    "submitted_at": 1.7e9,
    "started_at": 1.7e9,
    "stalled_at": None,
    "ended_at": None,
    "seconds": 1.5,
    "log_bytes": 3,
    "fetched": False,
    "python": "/usr/bin/python3",
    "dependencies": "",
    "driver": "",
    "source": {"commit": "0" * 40},
    "now": 1.7e9,
}
OUTPUT = {
    "path": "a/b",
    "size_bytes": 1,
    "sha256": "0" * 64,
    "mode": 0o644,
    "link": None,
    "outside": False,
    "same_as": "",
}
LEFT = {"path": "~/x", "files": 1, "size_bytes": 1, "jobs": [1], "minor": False}
USE = {"index": 0, "name": "T4", "percent": 1.0, "memory_used_bytes": 1, "memory_bytes": 2, "temperature_c": 50.0}
JOB_USE = {
    "job": {name: value for name, value in RECORD.items() if name != "now"},
    "cpu_used": 0.5,
    "memory_bytes": 1,
    "last_line": "loss",
}
ANSWERS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "jobs": ([RECORD], lambda: client.list_jobs(NOTHING)),
    "job": ([RECORD], lambda: client.find_job(NOTHING, 1)),
    "cancel": (RECORD, lambda: client.cancel(NOTHING, 1)),
    "tail": ({"offset": 1}, lambda: client.find_tail(NOTHING, 1, 1)),
    "outputs": (
        {
            **{"job": RECORD, "outputs": [OUTPUT], "unreadable": ["x"], "unsettled": ["y"], "missing": ["~/z"]},
            **{"held": [{"path": ".venv", "files": 1, "size_bytes": 1}], "left": [LEFT], "left_complete": True},
        },
        lambda: client.list_outputs(NOTHING, 1),
    ),
    "left": ({"left": [LEFT], "complete": True}, lambda: client.list_left(NOTHING)),
    "look": (
        {
            "now": 1.7e9,
            "cpus": 2,
            "cpu_used": 0.1,
            "memory_bytes": 9,
            "memory_used_bytes": 1,
            "disk_bytes": 2,
            "disk_free_bytes": 1,
            "gpus": [USE],
            "jobs": [JOB_USE],
        },
        lambda: client.look(NOTHING, 1),
    ),
    "probe": ({"python": "p", "driver": "", "gpus": ["T4"], "multiplied": True}, lambda: client.probe(NOTHING)),
    "submit": (
        {"job": 1, "ahead": 0, "disk_bytes": 1, "disk_free_bytes": 1},
        lambda: client.submit(NOTHING, {}, FILES, lambda stream, missing: None),
    ),
}
CLUSTER = Cluster("c", "local", "r", (Node("i", "running", "h", 22, "t", "z"),), Gpu("T4"), 0.5, 2e9, 1.7e9, "o")
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters() | st.sampled_from("\ud800\udcff\x1b\0\n"))
    | st.sampled_from([1 << 70, 10**400, -1, "../x", "/etc/passwd", "succeeded", float("nan")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def answering(monkeypatch):
    """Let the node answer this."""

    def answer(text: bytes, code: int = 0, said: bytes = b"") -> None:
        for module in (calls, packing):
            monkeypatch.setattr(module, "execute", lambda *_: Answer(code, text, said))

    return answer


@st.composite
def damaged(draw, answer: Any) -> Any:
    """An answer with one part of it replaced, left out or added to."""
    if isinstance(answer, dict) and answer and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(answer)))
        kept = {name: value for name, value in answer.items() if name != key}
        if draw(st.booleans()):
            return {**kept, key: draw(damaged(answer[key]))}
        return kept if draw(st.booleans()) else {**answer, "more": draw(ANYTHING)}
    if isinstance(answer, list) and answer and draw(st.booleans()):
        return [draw(damaged(answer[0]))]
    return draw(ANYTHING)


def use(found: Any) -> None:
    """Do with what was understood what the commands do with it: show it."""
    for job in found if isinstance(found, tuple) else [found]:
        if isinstance(job, Job):
            jobs.job_row(job, Path("nowhere"))
            jobs.describe_state(job)
            receipts.render(json.loads(json.dumps(make_receipt(CLUSTER, job, ()).to_dict())))
    if hasattr(found, "cpus"):
        assert not {"\x1b", "\0"} & set("".join(top.plain_lines(CLUSTER, [found])))


@pytest.mark.parametrize("command", ANSWERS)
def test_an_honest_answer_is_understood(answering, command):
    answering(json.dumps(ANSWERS[command][0]).encode())
    use(ANSWERS[command][1]())


@settings(max_examples=120)
@given(data=st.data())
@pytest.mark.parametrize("command", ANSWERS)
def test_a_damaged_answer_is_nonsense_or_can_be_shown(answering, command, data):
    answering(json.dumps(data.draw(damaged(ANSWERS[command][0]))).encode())
    try:
        found = ANSWERS[command][1]()
    except GpujobError as error:
        assert error.what
        return
    use(found)


@settings(max_examples=60)
@example(text=b"[" * 100_000, code=0, said=b"")
@example(text=b"9" * 5000, code=0, said=b"")
@given(text=st.binary(), code=st.integers(-1, 300), said=st.binary())
def test_no_bytes_and_no_exit_code_make_the_client_stumble(answering, text, code, said):
    answering(text, code if (code, said) != (2, b"can't open file") else 1, said)
    for _, call in ANSWERS.values():
        try:
            use(call())
        except GpujobError:
            continue
    with contextlib.suppress(NodeError):
        client.read_missing(text)


@given(path=st.text(st.characters() | st.sampled_from("\ud800\udcff/.\0\x1b"), max_size=300))
def test_no_path_that_a_node_can_tell_leads_outside_or_stumbles(path):
    try:
        place, _ = make_inert(read_path(decode(Output, {**OUTPUT, "path": path}).path))
    except GpujobError:
        return
    assert not place.is_absolute()
    assert place.parts
    assert ".." not in place.parts
    assert os.fsencode(place)


@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), float("inf"), True, "1"])
def test_a_number_that_is_none_or_too_large_is_nonsense(number):
    with pytest.raises(NodeError, match="invalid response"):
        decode(float, number)


@settings(max_examples=100)
@given(data=st.data())
def test_a_receipt_that_somebody_changed_is_shown_or_refused(tmp_path_factory, data):
    honest = json.loads(
        json.dumps(make_receipt(CLUSTER, decode(Job, JOB_USE["job"]), (decode(Output, OUTPUT),)).to_dict())
    )
    receipt = data.draw(damaged(honest))
    try:
        text = "\n".join([*receipts.render(receipt).values(), *receipts.render_outputs(receipt)])
    except receipts.DAMAGED:
        return
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (client.NotebookReply, {"job": 1, "port": 99999999999, "token": "", "said": ""}),
        (client.NotebookReply, {"job": 1, "port": 1, "token": "a\nb", "said": ""}),
        (client.TensorBoardReply, {"port": 65536}),
        (client.Tail, {"offset": []}),
        (Output, {**OUTPUT, "link": "a\0b"}),
        (Output, {**OUTPUT, "path": ""}),
        (Output, {**OUTPUT, "path": "x" * 5000}),
        (Output, {**OUTPUT, "sha256": "../" * 20}),
        (Output, {**OUTPUT, "mode": 1 << 40}),
        (Job, {**JOB_USE["job"], "exit_code": 256}),
    ],
)
def test_a_value_outside_of_what_it_may_be_is_refused(kind, value):
    with pytest.raises(NodeError, match="invalid response"):
        decode(kind, value)
