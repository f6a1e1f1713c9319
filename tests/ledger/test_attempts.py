"""An `up` that was interrupted: the same command resumes it, also once the program has been upgraded."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from infra import state
from infra.errors import UsageError
from infra.ledger.attempts import begin, find_attempt, read_attempt, write_attempt
from infra.model import Gpu, LaunchRequest, Lease

ACCOUNT = SimpleNamespace(cloud="local", region="us-east-1")
ASKED = LaunchRequest(
    gpu=Gpu("T4", 4), markets=("spot", "on-demand"), zones=("us-east-1a",), max_hours=3, max_cost_usd=2.5
)


@pytest.fixture(autouse=True)
def interrupted(monkeypatch, tmp_path):
    """An `up` of "demo" that wrote down what it was asked for, and no more."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    attempt = begin(ACCOUNT, ASKED, Lease(time.time() + 3600, 2.5))
    write_attempt("demo", attempt)
    return attempt


def rewrite(**changes):
    """Change the record of the attempt as another version of the program would have written it."""
    file = state.attempt_file("demo")
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_the_same_command_resumes_it(interrupted):
    assert find_attempt(ACCOUNT, "demo", ASKED) == interrupted


def test_another_command_is_refused():
    with pytest.raises(UsageError, match="with other options was interrupted"):
        find_attempt(ACCOUNT, "demo", LaunchRequest(gpu=Gpu("T4")))


def test_neither_up_nor_send_takes_up_what_the_other_has_begun(interrupted):
    with pytest.raises(UsageError, match="by gpujob up was interrupted"):
        find_attempt(ACCOUNT, "demo", replace(ASKED, sent=True))
    write_attempt("demo", replace(interrupted, request=replace(ASKED, sent=True)))
    with pytest.raises(UsageError, match="by gpujob send was interrupted") as refused:
        find_attempt(ACCOUNT, "demo", ASKED)
    assert refused.value.hint == "remove what it left: gpujob down demo; then rerun"


def test_an_option_that_a_later_version_added_is_taken_to_have_had_its_default(interrupted):
    written = json.loads(state.attempt_file("demo").read_text())["request"]
    del written["idle_stop_s"], written["setup"]
    rewrite(request=written)
    assert find_attempt(ACCOUNT, "demo", ASKED) == interrupted


@pytest.mark.parametrize(
    "written", ["LaunchRequest(gpu=Gpu(name='T4', count=4))", {"new": 1}, {"nodes": "two"}, None, []]
)
def test_a_request_that_cannot_be_read_is_said_to_be_of_another_version_and_can_be_removed(written, interrupted):
    rewrite(request=written)
    with pytest.raises(UsageError, match="by another version of gpujob") as refused:
        find_attempt(ACCOUNT, "demo", ASKED)
    assert refused.value.hint == "remove what it left: gpujob down demo; then rerun"
    found = read_attempt("demo")
    assert found is not None
    assert (found.token, found.region) == (interrupted.token, "us-east-1")
