"""What is said of AWS is said after asking AWS; a wrong name ends nothing, and is told apart from "nothing to do"."""

import json
import os
import pty
import re
import subprocess
from contextlib import suppress

import pytest

from infra import state
from tests.conftest import COMMAND, Laptop
from tests.here import Here, move_in, type_here

NOT_ASKED = "could not ask AWS: no credentials found. Cannot tell whether anything is running there"


LOOKING = ["ls", "ls --json", "cost", "images", "sweep", "images rm cake"]
ENDING = ["down", "down stud", "down stud --if-exists", "down --all"]


@pytest.mark.parametrize("line", LOOKING + ENDING)
def test_without_credentials_nothing_is_claimed(tmp_path, monkeypatch, line):
    move_in(tmp_path, monkeypatch)
    typed = type_here(*line.split())
    assert typed.code == 1, typed.said
    assert NOT_ASKED in typed.err
    assert "aws sso login" in typed.err


@pytest.mark.parametrize("words", [["ls"], ["cost"], ["images"], ["down", "stud", "--if-exists"]])
def test_credentials_without_a_region_ask_nobody_either(tmp_path, monkeypatch, words):
    move_in(tmp_path, monkeypatch, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
    typed = type_here(*words)
    assert typed.code == 1, typed.said
    assert "could not ask AWS: no region is set" in typed.err
    assert "--region us-east-1" in typed.err


@pytest.mark.parametrize("words", [["ls"], ["cost"], ["images"], ["down", "stud", "--if-exists"], ["down", "--all"]])
def test_who_has_only_ever_used_the_local_cloud_is_not_sent_to_log_in(tmp_path, monkeypatch, words):
    move_in(tmp_path, monkeypatch)
    state.local_cloud_folder().mkdir()
    typed = type_here(*words)
    assert typed.code == 0, typed.said
    assert "(AWS was not asked: no credentials found)" in typed.err
    assert "on the local cloud" in typed.err
    (state.state_folder() / "costs").mkdir()
    (state.state_folder() / "costs/aws-us-east-1-i-1.json").touch()  # AWS was used once: machines may be there
    typed = type_here(*words)
    assert typed.code == 1, typed.said
    assert NOT_ASKED in typed.err


@pytest.mark.parametrize("words", [["ls"], ["cost"], ["images"], ["down", "--all"], ["down", "stud", "--if-exists"]])
def test_a_dry_run_speaks_of_the_local_cloud_alone(tmp_path, monkeypatch, words):
    move_in(tmp_path, monkeypatch)
    typed = type_here(*words, "--dry-run")
    assert typed.code == 0, typed.said
    assert "on the local cloud" in typed.err
    assert "AWS was not asked" not in typed.err


def test_a_record_that_cannot_be_read_is_no_proof_that_aws_was_never_used(tmp_path, monkeypatch):
    move_in(tmp_path, monkeypatch)
    state.local_cloud_folder().mkdir()
    folder = state.cluster_folder("stud")
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text("{")
    assert NOT_ASKED in type_here("ls").err


@pytest.fixture
def on_aws(rented: Laptop, tmp_path) -> Laptop:
    """Another laptop of the same account; the local cloud stands in for AWS, by botocore's own variable."""
    cloud = json.loads((rented.home / ".local/state/gpujob/local/cloud.json").read_text())
    variables = {
        "AWS_ENDPOINT_URL": cloud["url"],
        "GPUJOB_CHECKIP_URL": f"{cloud['url']}/gpujob/checkip",
        "AWS_ACCESS_KEY_ID": cloud["access_key"],
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    (tmp_path / "project").mkdir()
    return Here(tmp_path, tmp_path / "project", variables)


def test_a_wrong_name_ends_nothing_and_near_ones_are_shown_with_state_and_price(on_aws):
    down = on_aws.type("down", "sharde", "--yes")
    assert down.code == 1, down.said
    assert "no cluster 'sharde' in us-east-1. Did you mean shared (running, $0.54/h)?" in down.err
    assert "next: gpujob down shared --yes\n" in down.err
    far = on_aws.type("down", "nothing-like-it")
    assert (far.code, "next: gpujob ls --all-regions" in far.err, "shared" in far.err) == (1, True, False)
    own = on_aws.type("down")
    assert (own.code, "no cluster 'project' in us-east-1. Existing clusters: shared (running, $0.54/h)" in own.err) == (
        1,
        True,
    )
    scripted = on_aws.type("down", "sharde", "--if-exists")
    assert (scripted.code, "nothing to do: no cluster 'sharde' in us-east-1" in scripted.err) == (0, True)
    assert json.loads(on_aws.type("ls", "--json").out)[0]["nodes"][0]["state"] == "running"


def test_a_listing_says_where_it_looked(on_aws):
    elsewhere = on_aws.type("ls", "--region", "us-west-2")
    assert (elsewhere.code, elsewhere.out) == (0, "")
    assert "no clusters in us-west-2" in elsewhere.err
    wrong = on_aws.type("images", "rm", "cake")
    assert (wrong.code, "no image 'cake' in us-east-1" in wrong.err) == (1, True)
    assert on_aws.type("images", "rm", "cake", "--if-exists").code == 0


def test_the_price_of_a_dry_run_is_not_said_to_be_billed(rented, tmp_path):
    down = Here(rented.home, tmp_path).type("down", "sharde", "--dry-run")
    assert (down.code, "Did you mean shared (running, not billed)?" in down.err) == (1, True), down.said


@pytest.mark.parametrize(
    ("words", "typed", "machine"),
    [
        ((), "\n", "g4dn.xlarge: 1 x T4"),
        ((), "9\n2\n", "g6.xlarge: 1 x L4"),
        (("--spot",), "a10g:4\n", "g5.12xlarge: 4 x A10G"),
    ],
)
def test_up_offers_a_person_who_asks_for_no_gpu_a_short_list(on_aws, words, typed, machine):
    near, far = pty.openpty()
    environment = {**on_aws.environment, "TERM": "dumb", "COLUMNS": "100"}
    asked = [*COMMAND, "up", "new", *words]
    with subprocess.Popen(asked, env=environment, cwd=on_aws.project, stdin=far, stdout=far, stderr=far) as process:
        os.close(far)
        os.write(near, f"{typed}n\n".encode())
        said = b""
        with suppress(OSError):  # that is how a terminal ends
            while True:
                said += os.read(near, 65536)
    os.close(near)
    shown = said.decode().replace("\r\n", "\n")
    assert process.returncode == 1, shown
    assert re.search(r"1  T4 +16 GB +\$0\.\d\d/h  g4dn\.xlarge  \(default\)\n +2  L4 +24 GB ", shown), shown
    assert ("A10G" in shown, "H100" in shown, machine in shown) == (True, True, True), shown
    assert "aborted; nothing was changed" in shown
