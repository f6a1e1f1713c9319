"""What the client may say to the agent: it arrives as it was meant, once, or is refused in one line; never half."""

import base64
import json
import subprocess
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.node.packing import pack_agent
from tests import agent_fixtures as fixtures
from tests.agent_fixtures import request

node = fixtures.node
WHOLE = request(("true",), "t", {"a": b"content"})
LINE = WHOLE.splitlines()[0]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("\udcff\n\t'\"$`\\"))

RUN = "runpy.run_path(sys.argv[0], run_name='__main__')"
FINISH = "lambda: (threading.main_thread().join(), sys.stderr.write('thread done\\n'))"
THREAD = f"threading.Thread(target={FINISH}).start()"


def packed(value: object) -> bytes:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())) + b"\n"


def test_no_module_of_the_agent_is_compiled_for_a_call_or_only_once_where_none_was_kept(node):
    assert not [about for about in node.watch("compile", "jobs") if "/agent/" in about]
    [kept] = (node.home / ".gpujob").glob("agent-*.*.pyz")
    kept.unlink()
    compiled = [about for about in node.watch("compile", "jobs") if "/agent/" in about]
    assert len(compiled) == len(set(compiled)) > 3


@pytest.mark.parametrize("begun", ["", THREAD])
def test_a_call_ends_before_python_is_taken_apart_but_after_its_threads(node, begun):
    script = f"import atexit, runpy, sys, threading; atexit.register(print, 'taken apart', file=sys.stderr); {begun}"
    words = [node.python, "-I", "-S", "-c", f"{script}\ndel sys.argv[0]\n{RUN}", pack_agent()[0], "jobs"]
    call = subprocess.run(words, cwd=node.home, env=node.environment, capture_output=True, check=True)
    assert (call.stdout, call.stderr) == (b"[]", b"thread done\ntaken apart\n" if begun else b"")


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
