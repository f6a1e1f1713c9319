"""What is in a bucket is trusted no more than what a machine answers: any job on it can write there."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.backends import get_backend

from infra.ec2.account import Account
from infra.ec2.scaling.groups import NOTHING, find_groups, make_tags
from infra.ec2.storage import buckets
from infra.ec2.storage.buckets import ready_bucket
from infra.ec2.storage.objects import Store
from infra.ec2.tags import CLUSTER_TAG, LAUNCH_TAG, LEASE_TAG, SENT_TAG, format_time, resource_name
from infra.errors import CloudError, NodeError, NotFoundError, UsageError
from infra.fetch.outputs import EVERYTHING, Fetched, fetch_once
from infra.model import Counts
from infra.node.agent.bucket.layout import done_name
from infra.results.receipts import make_receipt
from infra.saved.search import list_saved
from infra.saved.usage import list_stored, remove
from infra.send.bundle import find_last_number
from tests import s3
from tests.agent.test_bucket import MACHINE
from tests.s3 import KEYS, Proxy

proxy, store = s3.proxy, s3.store

JOB = {
    "number": 1, "command": ["x"], "name": "", "state": "running", "reason": "", "gpus": [], "exit_code": None,
    "submitted_at": 1.0, "started_at": 2.0, "stalled_at": None, "ended_at": None, "now": 3.0, "seconds": 1.0,
    "log_bytes": 0, "fetched": False, "python": "", "dependencies": "", "driver": "",
}  # fmt: skip
CONTENT = b"a model and its optimizer"


def output(path: str, **more: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    plain = {"path": path, "outside": False, "size_bytes": len(CONTENT), "sha256": sha256, "mode": 0o644}
    return {**plain, "link": None, "same_as": "", "object": sha256, "offset": 0, **more}


def save(
    store: Store,
    outputs: list[dict[str, Any]],
    token: str = "t",
    attempt: int = 1,
    cluster: str = "c",
    task: int = 0,
    **more: Any,
) -> None:
    """Write a job as a machine would, or would not."""
    counts = {"version": 1, "round": 1, "final": False, "log_bytes": 0, "written_at": 1.0, "put_requests": 1}
    manifest = {**counts, "objects": {}, "job": JOB, "outputs": outputs, **more}
    place = f"{cluster}/{token}/tasks/{task}/{attempt}"
    objects = {
        f"{place}/out/{hashlib.sha256(CONTENT).hexdigest()}": CONTENT,
        f"{place}/outputs.json": json.dumps(manifest).encode(),
        f"{place}/job.json": json.dumps({"version": 1, "job": JOB, "cluster": MACHINE}).encode(),
    }
    for key, body in objects.items():
        store.account.s3.put_object(Bucket=store.bucket, Key=key, Body=body)


def fetch(store: Store, runs: Path) -> Fetched:
    return fetch_once(list_saved(store, "c")[-1], 1, runs, lambda _: None, EVERYTHING)


def test_a_job_of_a_lost_machine_counts_as_interrupted_and_what_it_uploaded_arrives(
    store: Store, tmp_path: Path
) -> None:
    save(store, [output("m.pt")])
    home = fetch(store, tmp_path)
    assert (home.folder / "files/m.pt").read_bytes() == CONTENT
    assert home.receipt.job.state == "interrupted"


def test_a_sent_job_is_read_from_the_attempt_that_ended_it_or_the_last_that_said_what_it_runs(store: Store) -> None:
    def put(key: str, content: dict[str, Any]) -> None:
        store.account.s3.put_object(Bucket=store.bucket, Key=f"c/t/tasks/0/{key}", Body=json.dumps(content).encode())

    put_claim(store, "c", 0)
    save(store, [output("first.pt")])
    save(store, [output("second.pt")], attempt=2)
    put("3/outputs.json", {})  # lost before it said what it runs
    [job] = list_saved(store, "c")
    assert [each.path for each in job.list_outputs()[1].outputs] == ["second.pt"]
    # The first machine was frozen between its last look at its claim and its end, and woke up.
    put("end.json", {"state": "succeeded", "exit_code": 0, "reason": "", "attempt": 1, "ended_at": 5.0})
    [job] = list_saved(store, "c")
    assert [each.path for each in job.list_outputs()[1].outputs] == ["first.pt"]
    assert job.job.state == "succeeded"


def test_a_sent_job_has_a_number_above_those_that_are_in_the_bucket_or_downloaded_and_keeps_it(
    store: Store, tmp_path: Path
) -> None:
    def put(token: str, after: int) -> None:
        about = {"request": {"after": after}, "array": None}
        store.account.s3.put_object(Bucket=store.bucket, Key=f"c/{token}/send.json", Body=json.dumps(about).encode())

    runs = tmp_path / "runs"
    assert find_last_number(store, "c/new/", runs) == 0
    save(store, [], token="old", job=JOB)  # never downloaded here
    put("old", 0)
    assert find_last_number(store, "c/new/", runs) == 1
    (runs / "c-4").mkdir()
    assert find_last_number(store, "c/new/", runs) == 4
    put("new", 1)  # its `send` was interrupted, and a machine may be at work
    assert find_last_number(store, "c/new/", runs) == 1
    store.account.s3.put_object(Bucket=store.bucket, Key="c/new/send.json", Body=b'{"request": {"after": []}}')
    with pytest.raises(NodeError, match=r"send\.json in the bucket is invalid"):
        find_last_number(store, "c/new/", runs)


def put_claim(store: Store, cluster: str, task: int, machine: str = "i-0123456789abcdef0") -> None:
    claim = {"machine": machine, "attempt": 1, "beat": 1, "why": "", "fruitless": 0, "failures": 0}
    body = json.dumps({**claim, "number": 1, "mark": ""}).encode()
    store.account.s3.put_object(Bucket=store.bucket, Key=f"{cluster}/t/tasks/{task}/claim", Body=body)


def make_group(store: Store, cluster: str, machines: int, until: float) -> str:
    """Create the group of a sent job; return its name."""
    account, name = store.account, resource_name(cluster)
    account.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": "ami-1"})
    tags = {CLUSTER_TAG: cluster, LAUNCH_TAG: "t", LEASE_TAG: format_time(until), SENT_TAG: "yes"}
    account.scaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchTemplate={"LaunchTemplateName": name},
        **{"MinSize": 0, "MaxSize": 4, "DesiredCapacity": machines},
        AvailabilityZones=["us-east-1a"],
        Tags=make_tags(name, tags),
    )
    return name


@pytest.mark.parametrize("ended", ["at 0", "its lease has passed", "deleted"])
def test_a_sent_job_without_an_end_is_interrupted_once_no_machine_is_kept_for_it(store: Store, ended: str) -> None:
    cluster = f"c{len(ended)}"
    save(store, [output("m.pt")], cluster=cluster)
    put_claim(store, cluster, 0)
    group = make_group(store, cluster, 1, time.time() - (3600 if "lease" in ended else -3600))
    if ended == "at 0":
        [job] = list_saved(store, cluster)
        lost = job.list_outputs()[0]
        assert (lost.state, job.ended) == ("queued", False)  # its machine is not in the group
        assert lost.reason == "waits for a machine in place of the last, i-0123456789abcdef0"
        [member] = find_groups(store.account, cluster)[0].members
        put_claim(store, cluster, 0, member.instance_id)
        [job] = list_saved(store, cluster)
        assert (job.list_outputs()[0].state, job.job.state, job.ended) == ("running", "running", False)
        store.account.scaling.update_auto_scaling_group(AutoScalingGroupName=group, **NOTHING)
    if ended == "deleted":
        store.account.scaling.delete_auto_scaling_group(AutoScalingGroupName=group, ForceDelete=True)
    [job] = list_saved(store, cluster)
    assert (job.job.state, job.job.exit_code, job.ended) == ("interrupted", None, True)
    assert job.list_outputs()[0].reason == "its machines ended before it did"
    assert [each.path for each in job.list_outputs()[1].outputs] == ["m.pt"]


def test_the_tasks_of_a_sent_array_that_its_lease_left_over_are_interrupted_and_the_others_stay(
    store: Store, tmp_path: Path
) -> None:
    def put(key: str, content: dict[str, Any]) -> None:
        store.account.s3.put_object(Bucket=store.bucket, Key=f"left/t/{key}", Body=json.dumps(content).encode())

    tasks = [{"index": index, "values": {}} for index in range(3)]
    put("send.json", {"array": {"tasks": tasks, "gpus": 0}, "request": {"after": 0, "command": ["x"]}})
    for task in (0, 1):  # the first ended, the second was at work, the third had not begun
        save(store, [output("m.pt")], cluster="left", task=task)
        put_claim(store, "left", task)
    log = hashlib.sha256(b"").hexdigest()
    end = {"state": "succeeded", "exit_code": 0, "reason": "", "attempt": 1, "ended_at": 5.0, "complete": True}
    put("tasks/0/end.json", {**end, "log_bytes": 0, "log_sha256": log})
    group = make_group(store, "left", 1, time.time() + 3600)
    [array] = list_saved(store, "left")
    assert ([each.state for each in array.tasks], array.ended) == (["succeeded", "running", "queued"], False)
    before = b"".join(array.read_log(0))
    store.account.scaling.update_auto_scaling_group(AutoScalingGroupName=group, **NOTHING)
    [array] = list_saved(store, "left")
    assert [each.state for each in array.tasks] == ["succeeded", "interrupted", "interrupted"]
    assert (array.job.state, array.job.exit_code, array.ended, array.complete) == ("interrupted", None, True, False)
    assert array.job.tasks == Counts(done=1, failed=2)
    # Who follows its log reads on from where he was.
    assert b"".join(array.read_log(0)).startswith(before)
    home = fetch_once(array, 1, tmp_path, lambda _: None, EVERYTHING)
    found = sorted(path.relative_to(home.folder / "files").as_posix() for path in home.folder.glob("files/**/*.pt"))
    assert found == ["0/m.pt", "1/m.pt"]


def put_many(store: Store, objects: dict[str, Any]) -> None:
    """Write many objects without a request for each."""
    inside = get_backend("s3")["123456789012"]["aws"]
    for key, content in objects.items():
        inside.put_object(store.bucket, key, json.dumps(content).encode())


def test_a_thousand_tasks_that_share_machines_are_listed_with_few_requests_and_cost_what_these_do(
    store: Store, proxy: Proxy, tmp_path: Path
) -> None:
    tasks = [{"index": index, "values": {}} for index in range(1000)]
    about = {"array": {"tasks": tasks, "gpus": 0}, "request": {"after": 6, "command": ["x"]}}
    job = {"version": 1, "job": {**JOB, "started_at": 1e9 + 124 * 3600}, "cluster": {**MACHINE, "gpu": ""}}
    claim = {"machine": "i-0123456789abcdef0", "attempt": 1, "beat": 1, "why": "", "fruitless": 0, "failures": 0}
    claim |= {"number": 7, "mark": ""}
    end = {"state": "succeeded", "exit_code": 0, "reason": "", "attempt": 1, "ended_at": 5.0, "complete": True}
    objects = {"many/t/send.json": about}
    for task in range(1000):
        place = f"many/t/tasks/{task}"
        if task in (0, *range(992, 1000)):  # of the others no reader asks for these
            objects |= {f"{place}/claim": claim, f"{place}/1/job.json": job}
        if task < 992:  # four tasks at a time on each of two machines, an hour each
            start, machine = 1e9 + task // 8 * 3600, f"i-0123456789abcdef{task % 2}"
            objects |= {f"{place}/end.json": end, f"{place}/{done_name(1, start, 3600, machine)}": {}}
    put_many(store, objects)
    make_group(store, "many", 2, time.time() + 3600)
    proxy.seen.clear()
    [array] = list_saved(store, "many")
    assert (array.job.number, array.job.state, array.job.tasks) == (7, "running", Counts(done=992, running=8))
    assert len(proxy.seen) <= 4 + 4 + 3 + 8 * 3  # listings; account, request, group; the first task; those that run
    assert array.job.seconds == 2 * 124 * 3600 + JOB["seconds"]
    receipt = make_receipt(array.cluster, array.job, (), tasks=array.tasks)
    assert abs(receipt.usd - 2 * 124 * 0.5) < 0.001
    proxy.seen.clear()
    assert find_last_number(store, "many/new/", tmp_path / "runs") == 7
    assert len(proxy.seen) <= 3


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x"])
def test_no_path_leads_out_of_the_results(store: Store, tmp_path: Path, path: str) -> None:
    save(store, [output(path)])
    with pytest.raises(NodeError):
        fetch(store, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"object": "../../../other"}, {"offset": -1}, {"mode": 0o100777}, {"size_bytes": -5}, {"strange": 1}],
)
def test_a_manifest_that_is_none_is_refused_in_one_line(store: Store, tmp_path: Path, wrong: dict[str, Any]) -> None:
    save(store, [output("m.pt", **wrong)])
    with pytest.raises(NodeError, match="invalid response"):
        fetch(store, tmp_path)


def test_content_that_does_not_have_its_hash_is_not_saved(store: Store, tmp_path: Path) -> None:
    save(store, [output("m.pt", sha256="0" * 64), output("n.pt", offset=5, size_bytes=3)])
    home = fetch(store, tmp_path)
    assert set(home.changing) == {"m.pt", "n.pt"} and not list((home.folder / "files").iterdir())


def test_a_manifest_of_another_job_or_version_is_refused(store: Store, tmp_path: Path) -> None:
    save(store, [], job={**JOB, "number": 7})
    with pytest.raises(NodeError, match="job 7 in the place of 1"):
        fetch(store, tmp_path)
    save(store, [], version=2)
    with pytest.raises(NodeError, match="another version"):
        fetch(store, tmp_path)


def test_what_is_stored_is_counted_by_job_and_removed_by_job_and_nothing_else_is(store: Store) -> None:
    save(store, [output("m.pt")])
    save(store, [], token="u")
    store.account.s3.put_object(Bucket=store.bucket, Key="someone else's/notes.txt", Body=b"x")
    found = list_stored(store)
    assert [(each.prefix, each.objects, each.ended) for each in found] == [("c/t/", 3, 0), ("c/u/", 3, 0)]
    assert remove(store, found[:1]) == 3
    assert [each.prefix for each in list_stored(store)] == ["c/u/"]
    assert len(list_saved(store, "c")) == 1
    remove(store, found)
    assert [each.key for each in store.list("")] == ["someone else's/notes.txt"]


def test_the_account_s_own_bucket_is_made_once_private_encrypted_and_with_an_end(proxy: Proxy) -> None:
    account = Account("aws", boto3.Session(**KEYS), proxy.endpoint)
    s3, name = account.s3, "gpujob-123456789012-us-east-1"
    assert ready_bucket(account, "auto") == name
    assert all(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values())
    rules = {rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]}
    assert rules["gpujob-parts"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
    assert rules["gpujob-results"]["Expiration"]["Days"] == 90
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=name)["Policy"]
    s3.delete_bucket_tagging(Bucket=name)  # as after a crash in between: the settings are made again
    s3.delete_public_access_block(Bucket=name)
    assert ready_bucket(account, "auto") == name
    assert all(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values())


def test_a_bucket_that_is_missing_elsewhere_or_another_s_is_refused(proxy: Proxy, store: Store) -> None:
    with pytest.raises(NotFoundError, match="no bucket"):
        ready_bucket(store.account, "gpujob-none-of-this-name")
    with pytest.raises(UsageError, match="is in eu-west-1"):
        buckets.check_region(store.account, store.bucket, "eu-west-1")
    proxy.faults[:] = ["403 AccessDenied 0"]
    with pytest.raises(CloudError, match="another account"):
        ready_bucket(store.account, store.bucket)
    proxy.faults.clear()
