"""The store of uploaded contents, after weeks: many uploads, killed agents, lost files."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

from infra.node.packing import pack_agent
from tests import agent_fixtures as fixtures
from tests.agent_fixtures import request
from tests.conftest import wait_for

node = fixtures.node
UPLOADS, DESCRIPTORS = 200, 100
HOUR_S = 3600


def packs(home: Path) -> set[str]:
    return {path.name for path in (home / ".gpujob/store").iterdir() if "-" in path.name}


def referred_packs(home: Path) -> set[str]:
    lines = (home / ".gpujob/store/index").read_text().split("\n")
    return {line.split()[1] for line in lines if line}


def upload_often(home: Path) -> dict[str, bytes]:
    """Leave what so many uploads of one file leave; return the files."""
    store = home / ".gpujob/store"
    store.mkdir(parents=True)
    files = {f"file-{number}": b"content %d" % number for number in range(UPLOADS)}
    with (store / "index").open("w") as index:
        for number, content in enumerate(files.values()):
            (store / f"{number + 1:x}-1").write_bytes(content)
            index.write(f"{hashlib.sha256(content).hexdigest()} {number + 1:x}-1 0 {len(content)}\n")
    return files


def test_more_uploads_than_a_process_may_open_files_are_read_and_then_merged(node):
    files = upload_often(node.home)
    process = subprocess.Popen(
        [node.python, "-I", "-S", pack_agent()[0], "submit"],
        cwd=node.home,
        env={"HOME": str(node.home), "PATH": os.environ["PATH"], "GPUJOB_LOCAL_HOST": "test"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
    )
    answer, err = process.communicate(request(("sh", "-c", "cat file-*"), "one", files, sent=[]), timeout=120)
    assert process.returncode == 0, err
    number = json.loads(answer.splitlines()[-1])["job"]
    node.wait(number)
    assert node.ask("logs", str(number), "0") == b"".join(content for _, content in sorted(files.items()))
    wait_for(lambda: len(packs(node.home)) == 1, "the packs to be merged")
    assert referred_packs(node.home) == packs(node.home)
    last = node.submit("sh", "-c", "cat file-*", token="two", files=files)
    node.wait(last)
    assert node.ask("logs", str(last), "0") == node.ask("logs", str(number), "0")


def test_what_killed_agents_left_is_removed_once_a_job_has_started(node):
    process = node.start("submit")
    line = request(("true",), "t", {"big": os.urandom(100_000)}).split(b"\n")[0]
    process.stdin.write(line + b"\n")
    process.stdin.flush()
    jobs, work, store = (node.home / ".gpujob" / name for name in ("jobs", "work", "store"))
    wait_for(lambda: list(work.glob("incoming-*")) and packs(node.home), "the upload to begin")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    [pack] = packs(node.home)
    node.wait(node.submit("true", token="young"))
    wait_for(lambda: not [*jobs.glob("incoming-*"), *work.glob("incoming-*")], "removal of the folders")
    assert packs(node.home) == {pack}, "it may still be written"
    os.utime(store / pack, (time.time() - 2 * HOUR_S, time.time() - 2 * HOUR_S))
    node.wait(node.submit("true", token="old"))
    wait_for(lambda: not packs(node.home), "removal of the pack")


def test_a_pack_that_is_gone_is_uploaded_again(node):
    files = {"a": b"lost"}
    node.wait(node.submit("true", token="one", files=files))
    [pack] = packs(node.home)
    (node.home / ".gpujob/store" / pack).unlink()
    process = node.start("submit")
    _, err = process.communicate(request(("true",), "two", files, sent=[]), timeout=120)
    assert (process.returncode, b"rerun the command" in err) == (1, True)
    number = node.submit("cat", "a", token="three", files=files)
    node.wait(number)
    assert node.ask("logs", str(number), "0") == b"lost"
