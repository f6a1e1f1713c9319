"""Another user of the same computer: he can neither read nor use what gpujob writes, starts or listens on here."""

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from infra import state
from infra.errors import GpujobError
from infra.local import process
from infra.model import Cluster
from infra.run import pages
from infra.setup import inventory
from tests.conftest import Laptop, make_laptop, wait_for

NOBODY = 65534
"".encode("idna")  # what the other user cannot import, since the interpreter's folder may be closed to him
SECRET = "an-uncommon-passphrase"
JOB = """
import pathlib, time
pathlib.Path("model.bin").write_text("weights")
print("started", flush=True)
time.sleep(600)
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")


def as_other(ask: Callable[[], Any]) -> Any:
    """Return what a function finds out as another user, in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = {"found": ask()}
        except BaseException as error:
            answer = {"error": repr(error)}
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert "found" in said, said
    return said["found"]


def open_to_me(folder: Path) -> list[str]:
    """Return what below a folder this user can list, read or write."""
    found = []
    for place, _, names in os.walk(folder):
        found += [place] if os.access(place, os.W_OK) else []
        paths = [Path(place, name) for name in names]
        found += [str(path) for path in paths if os.access(path, os.R_OK) or os.access(path, os.W_OK)]
    return found


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A folder that every user of the computer can enter."""
    folder = Path(tempfile.mkdtemp(prefix="gpujob-second-user-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def victim(shared: Path) -> Iterator[Laptop]:
    """A person whose home, project and, until now, state folder all may enter, with a cluster and a job that runs."""
    before = os.umask(0o022)
    laptop = make_laptop(shared, TOKEN=SECRET)
    try:
        laptop.home.joinpath("public.txt").write_text("for all")
        laptop.write("train.py", JOB)
        laptop.home.joinpath(".local/state/gpujob").mkdir(parents=True)
        laptop.home.joinpath(".local/state/gpujob").chmod(0o777)
        for words in (["up", "--dry-run"], ["run", "--detach", "--secret", "TOKEN", "train.py"]):
            process = laptop.start_alone(*words)  # a fork would show the words of the process it was forked from
            said = process.communicate(timeout=120)
            assert process.returncode == 0, said
        wait_for(lambda: "started" in laptop.type("logs", "1").out, "start of the job")
        assert laptop.type("fetch", "1").code == 0
        yield laptop
    finally:
        os.umask(before)
        laptop.give_back()


def cloud(laptop: Laptop) -> dict[str, Any]:
    """Return what the local cloud wrote down of itself."""
    return json.loads((laptop.home / ".local/state/gpujob/local/cloud.json").read_text())


def test_he_reads_nothing_of_the_state_folder_that_all_could_enter_before(victim):
    folder = victim.home / ".local/state/gpujob"
    names = {path.name for path in folder.rglob("*")}
    assert {"id_ed25519", "known_hosts", "cluster.json", "cloud.json", "cloud.log", "host.json"} <= names
    assert as_other(lambda: (victim.home / "public.txt").read_text()) == "for all"
    assert as_other(lambda: [*open_to_me(folder), os.access(folder, os.X_OK)]) == [False]


def test_no_key_or_secret_is_in_a_process_that_he_can_look_at(victim):
    def look() -> list[str]:
        texts = []
        for entry in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    texts.append((entry / name).read_text(errors="replace"))
                except OSError:
                    continue
        return texts

    texts = as_other(look)
    assert any("infra.local.cloud.server.service" in text for text in texts), "he sees the processes"
    for hidden in (SECRET, cloud(victim)["access_key"]):
        assert not any(hidden in text for text in texts)


@pytest.mark.parametrize("key", [None, "", "AKIA0000000000000000"])
def test_the_local_cloud_refuses_him(victim, key):
    signed = {} if key is None else {"Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/ec2/aws4"}
    headers = {**signed, "Content-Type": "application/x-www-form-urlencoded", "X-Gpujob-Key": key or ""}
    asked = [
        ("POST", "/", urlencode({"Action": "RunInstances", "MinCount": 1, "MaxCount": 1, "Version": "2016-11-15"})),
        ("POST", "/", urlencode({"Action": "DescribeInstances", "Version": "2016-11-15"})),
        ("GET", "/moto-api/data.json", ""),
        ("POST", "/moto-api/reset", ""),
        ("POST", "/gpujob/faults", '["mute"]'),
        ("GET", "/gpujob/faults", ""),
        ("GET", "/gpujob/trail", ""),
        ("GET", "/gpujob/metadata/i-0/latest/meta-data/instance-id", ""),
        ("GET", "/bucket", ""),
    ]

    def ask() -> list[int]:
        return [request(cloud_url, method, path, body, headers)[0] for method, path, body in asked]

    cloud_url = cloud(victim)["url"]
    assert set(as_other(ask)) <= {400, 401, 403, 404}
    assert as_other(lambda: request(cloud_url, "GET", "/gpujob/ping?nonce=x", "", {}))[0] == 200
    assert victim.type("ls").out.count("running") == 1


def request(url: str, method: str, path: str, body: str, headers: dict[str, str]) -> tuple[int, str]:
    """Ask the local cloud; return the status and the answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def test_the_proof_of_the_local_cloud_does_not_tell_him_its_key(victim):
    known = cloud(victim)
    answer = as_other(lambda: request(known["url"], "GET", f"/gpujob/ping?nonce={secrets.token_hex()}", "", {}))[1]
    assert answer and known["access_key"] not in answer


def test_a_machine_of_the_local_cloud_refuses_his_key(victim, shared):
    record = json.loads((victim.home / ".local/state/gpujob/clusters/project/cluster.json").read_text())
    host, port = record["nodes"][0]["host"], record["nodes"][0]["port"]
    theirs = shared / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    options = ["-F", "/dev/null", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]
    options += ["-o", "NumberOfPasswordPrompts=0", "-o", "BatchMode=yes", "-i", str(theirs / "key")]

    def log_in() -> list[Any]:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", theirs / "key"], check=True)
        found = []
        for user in ("ubuntu", "root", "nobody"):
            words = ["ssh", *options, "-p", str(port), f"{user}@{host}", "echo in"]
            run = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            found.append([run.returncode, run.stdout, "Permission denied" in run.stderr])
        return found

    assert as_other(log_in) == [[255, "", True]] * 3


def test_he_changes_nothing_in_the_results(victim):
    runs = victim.project / "runs"
    assert (runs / "project-1" / "receipt.json").is_file()
    writable = as_other(lambda: [path for path in open_to_me(runs) if os.access(path, os.W_OK)])
    assert writable == []


def test_the_page_that_leads_to_the_notebook_is_the_owners(shared, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(shared / "state"))
    before = os.umask(0)
    try:
        with pages.make_door("demo", f"http://127.0.0.1:1/?token={SECRET}") as door:
            assert SECRET in door.read_text()
            assert not as_other(lambda: os.access(door, os.R_OK))
            door.parent.parent.chmod(0o755)
            door.parent.chmod(0o755)
            assert not as_other(lambda: os.access(door, os.R_OK))
    finally:
        os.umask(before)


def test_what_ansible_reads_is_the_owners_only():
    cluster = Cluster("demo", "aws", "us-east-1", (), None, 1.0, 2e9, 1e9, "me")
    before = os.umask(0)
    try:
        with inventory.private_folder(cluster, {"password": SECRET}) as folder:
            assert SECRET in (folder / "variables.yml").read_text()
            assert as_other(lambda: [*open_to_me(folder), os.access(folder, os.X_OK)]) == [False]
    finally:
        os.umask(before)


def test_a_state_folder_that_he_laid_out_is_refused(shared, monkeypatch):
    theirs = shared / "trap" / "gpujob"
    theirs.mkdir(parents=True)
    os.chown(theirs, NOBODY, NOBODY)
    monkeypatch.setenv("XDG_STATE_HOME", str(theirs.parent))
    with pytest.raises(GpujobError, match="belongs to another user"):
        state.write_private(state.key_file("demo"), SECRET)
    assert list(theirs.iterdir()) == []


def test_a_state_folder_that_is_his_link_is_refused(shared, monkeypatch):
    (shared / "linked").mkdir()
    (shared / "linked" / "gpujob").symlink_to(shared / "elsewhere")
    os.chown(shared / "linked" / "gpujob", NOBODY, NOBODY, follow_symlinks=False)
    (shared / "elsewhere").mkdir(mode=0o777)
    monkeypatch.setenv("XDG_STATE_HOME", str(shared / "linked"))
    with pytest.raises(GpujobError, match="belongs to another user"):
        state.write_private(state.key_file("demo"), SECRET)
    assert list((shared / "elsewhere").iterdir()) == []


def test_a_taken_port_of_the_local_cloud_gets_no_key(victim, shared, monkeypatch):
    """Somebody who listens where a cloud was that has ended cannot prove that he has its key, and is never told it."""
    folder = shared / "ended"
    folder.mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        record = {"url": f"http://127.0.0.1:{port}", "access_key": SECRET, "pid": os.getpid()}
        (folder / "cloud.json").write_text(json.dumps(record))
        heard = listen_once(listener)
        assert process.find(folder) is None
        assert heard and SECRET not in heard[0]


def listen_once(listener: socket.socket) -> list[str]:
    """Answer one request as somebody would who does not know the key; what was asked is in the list by then."""
    heard: list[str] = []

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            heard.append(connection.recv(65536).decode(errors="replace"))
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 64\r\n\r\n" + b"0" * 64)

    threading.Thread(target=answer, daemon=True).start()
    return heard
