"""What the client may say to the agent: it arrives as it was meant, once, or is refused in one line; never half."""

import base64
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import agent_fixtures as fixtures
from tests.agent_fixtures import request

node = fixtures.node
WHOLE = request(("true",), "t", {"a": b"content"})
LINE = WHOLE.splitlines()[0]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("\udcff\n\t'\"$`\\"))


def packed(value: object) -> bytes:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())) + b"\n"


def test_no_module_of_the_agent_is_compiled_for_a_call_or_only_once_where_none_was_kept(node):
    assert not [about for about in node.watch("compile", "jobs") if "/agent/" in about]
    [kept] = (node.home / ".gpujob").glob("agent-*.*.pyz")
    kept.unlink()
    compiled = [about for about in node.watch("compile", "jobs") if "/agent/" in about]
    assert len(compiled) == len(set(compiled)) > 3


@settings(max_examples=8)
@given(arguments=st.lists(TEXT, max_size=4), name=TEXT, value=TEXT)
def test_words_and_variables_reach_the_job_as_they_are(node, arguments, name, value):
    command = ["sh", "-c", 'printf "%s\\0" "$@" "$VALUE"', "sh", *arguments]
    options = {"token": json.dumps([arguments, name, value]), "name": name, "env": {"VALUE": value}}
    number = node.submit(*command, **options)
    record = node.wait(number)
    assert (record["command"], record["name"], record["exit_code"]) == (command, name, 0)
    printed = "".join(f"{text}\0" for text in [*arguments, value])
    assert node.ask("logs", str(number), "0") == printed.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"no base64 \xff\n",
        base64.b64encode(b"not deflated") + b"\n",
        base64.b64encode(zlib.compress(b"not JSON")) + b"\n",
        LINE[: len(LINE) // 2],
        packed([]),
        packed({}),
        packed({"token": "t", "command": ["true"]}),
    ],
)
def test_what_is_no_request_is_refused_in_one_line_and_starts_no_job(node, said):
    process = node.start("submit")
    _, err = process.communicate(said, timeout=120)
    assert (process.returncode, err.count(b"\n")) == (1, 1), err
    assert err.startswith(b"the request ")
    assert json.loads(node.ask("jobs")) == []


def test_two_laptops_that_submit_at_once_get_a_job_each(node):
    both = [node.start("submit") for _ in range(4)]
    for process, token in zip(both, ["one", "two", "two", "three"], strict=True):  # of "two" the answer was lost
        process.stdin.write(request(("sh", "-c", f"echo {token}"), token, {token: b"x"}))
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1])["job"] for process in both]
    assert answers[1] == answers[2]
    assert sorted(set(answers)) == [1, 2, 3]
    for number, token in zip(answers, ["one", "two", "two", "three"], strict=True):
        node.wait(number)
        assert node.ask("logs", str(number), "0") == f"{token}\n".encode()
