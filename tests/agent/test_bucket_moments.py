"""Every manifest of a running job is a state that its disk may have had: no checkpoint is there in part, and none is missing."""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import PurePosixPath

from infra.ec2.storage.objects import Store
from infra.errors import NotFoundError
from infra.saved.manifests import Manifest
from tests import s3
from tests.agent import test_bucket as small
from tests.agent.test_bucket import Machine, config, run, saved_or_none
from tests.conftest import wait_for
from tests.s3 import Proxy

proxy, store, machine = s3.proxy, s3.store, small.machine

# Two files in a folder that is renamed once it is whole, and then the one before is removed; another file stays open.
ROTATING = """
import os, pathlib, shutil, time
notes = open('notes', 'w')
for step in range(1, 1000):
    print(step, file=notes, flush=True)
    part = pathlib.Path('checkpoints/.part')
    part.mkdir(parents=True)
    (part / 'weights').write_bytes(os.urandom(1 << 21))
    time.sleep(0.4)
    (part / 'state').write_text(str(step))
    part.rename(f'checkpoints/step-{step:04}')
    shutil.rmtree(f'checkpoints/step-{step - 1:04}', ignore_errors=True)
    time.sleep(1.4)
"""


def test_a_checkpoint_is_in_the_bucket_whole_and_stays_until_the_next_one_is(
    machine: Machine, store: Store, proxy: Proxy
) -> None:
    proxy.rule = slow_down
    run(machine, store, ROTATING, period_s=0.3)
    seen: dict[int, list[str]] = {}

    def has_seen_many() -> bool:
        found = read_manifest_or_none(store)
        if found:
            names = [each.path for each in found.outputs if each.path.startswith("checkpoints/step-")]
            seen[found.round] = sorted(names)
        return len({each[-1] for each in seen.values() if each}) >= 3

    try:
        wait_for(has_seen_many, "some checkpoints")
    finally:
        proxy.rule = lambda method, path: ""
    kept = [names for _, names in sorted(seen.items())]
    first = next(index for index, names in enumerate(kept) if names)
    for names in kept[first:]:
        folders = {PurePosixPath(name).parent.name for name in names}
        assert folders, kept
        assert names == sorted(f"checkpoints/{folder}/{name}" for folder in folders for name in ("state", "weights"))
    assert all(len(names) <= 4 for names in kept)  # those that were removed do not stay for long


def read_manifest_or_none(store: Store) -> Manifest | None:
    """Return the last manifest; None before the first."""
    with suppress(NotFoundError):
        job = saved_or_none(store)
        return job and job.manifest
    return None


def slow_down(method: str, path: str) -> str:
    """Let the upload of a content take a while."""
    if method == "PUT" and "/out/" in path:
        time.sleep(0.5)
    return ""


# Removed first, and then written in its place for as long as it takes.
SLOW = """
import os, time
def write(name, go):
    with open('part', 'wb') as file:
        while True:
            file.write(os.urandom(1 << 16)); file.flush()
            print(name, flush=True)
            time.sleep(0.02)
            if os.path.exists(go): break
    os.rename('part', name)
write('first', '/')
while not os.path.exists('go'): time.sleep(0.02)
os.remove('first')
write('second', 'end')
time.sleep(600)
"""


def test_a_checkpoint_stays_however_many_rounds_the_next_one_takes(machine: Machine, store: Store) -> None:
    number, _ = run(machine, store, SLOW, period_s=0.05)
    work = machine.home / f".gpujob/work/{number}/project"
    seen: list[tuple[int, set[str]]] = []

    def look() -> set[str]:
        found = read_manifest_or_none(store)
        names = {each.path for each in found.outputs} & {"first", "second"} if found else set[str]()
        seen.append((found.round if found else 0, names))
        return names

    wait_for(lambda: "first" in look(), "the first checkpoint")
    (work / "go").touch()
    wait_for(lambda: not (work / "first").exists(), "its removal")
    after = seen[-1][0]
    wait_for(lambda: "first" not in look() or seen[-1][0] > after + 12, "twelve rounds with news")
    (work / "end").touch()
    wait_for(lambda: look() == {"second"}, "the second checkpoint")
    assert all(names for number, names in seen if number >= after), seen


# Replaced so often that it is another file in each round.
REPLACED = """
import os, time
for step in range(1000):
    open('new', 'wb').write(b'%08d' % step + os.urandom(1 << 21))
    os.replace('new', 'last')
    time.sleep(1.8)
"""


def test_a_large_file_that_every_round_finds_replaced_is_in_the_bucket_a_round_later(
    machine: Machine, store: Store
) -> None:
    run(machine, store, REPLACED, period_s=1.8)
    versions = set()

    def has_seen_two() -> bool:
        found = read_manifest_or_none(store)
        versions.update(each.sha256 for each in found.outputs if each.path == "last") if found else None
        return len(versions) >= 2

    wait_for(has_seen_two, "two versions", 30)


def test_what_a_job_resumes_from_stays_in_the_bucket_until_it_has_started(machine: Machine, store: Store) -> None:
    content = b"saved before"
    sha256, place = hashlib.sha256(content).hexdigest(), "c/t/tasks/0/1"
    output = {"path": "last", "outside": False, "size_bytes": len(content), "sha256": sha256, "mode": 0o644}
    output.update(link=None, same_as="", object=sha256, offset=0)
    manifest = {"version": 1, "round": 0, "log_bytes": 0, "put_requests": 0, "final": False, "outputs": [output]}
    store.account.s3.put_object(Bucket=store.bucket, Key=f"{place}/out/{sha256}", Body=content)
    store.account.s3.put_object(
        Bucket=store.bucket,
        Key=f"{place}/outputs.json",
        Body=json.dumps({**manifest, "objects": {sha256: len(content)}}).encode(),
    )
    machine.submit("sleep", "600", token="other", gpus=None)
    number = machine.submit("true", gpus=None, bucket=config(store, period_s=0.1))
    machine.start("upload", str(number))
    wait_for(lambda: json.loads(store.get(f"{place}/outputs.json"))["round"], "a round while it is queued")
    assert json.loads(store.get(f"{place}/outputs.json"))["outputs"] == [output]
    assert store.get(f"{place}/out/{sha256}") == content
