"""What other people of an account can do to ours: write our tags, take our names, answer for AWS; none of it does harm."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cluster import orphans
from infra.cluster.clusters import remove
from infra.ec2 import tags
from infra.ec2.account import Account, Identity
from infra.ec2.machines.images import find_image
from infra.ec2.machines.instances import find_clusters, find_foreign, make_cluster
from infra.ec2.machines.lease import hourly_usd, spent_usd
from infra.ec2.machines.removal import find_remains, remove_cluster
from infra.ec2.network.address import find_caller_address, read_address
from infra.ec2.tags import CLUSTER_TAG, LAUNCH_TAG, OWNER_TAG, tag_specification
from infra.errors import CloudError, GpujobError, NotFoundError, UsageError
from infra.ledger import costs
from infra.model import Cluster
from tests.mocked import mocked_aws

IMAGE = "ami-12c6146b"  # one of moto's


@pytest.fixture
def account(tmp_path, monkeypatch) -> Iterator[Account]:
    """An account that moto keeps in this process, and a laptop that remembers nothing."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with mocked_aws():
        yield Account("aws", boto3.Session("testing", "testing", region_name="us-east-1"))


def launch(account: Account, cluster: str, key: str | None = None, **more: str) -> str:
    """Launch a machine that bears a cluster's tags, with its key pair or another."""
    marks = {CLUSTER_TAG: cluster, OWNER_TAG: account.identity.arn, LAUNCH_TAG: "token"} | more
    made = [tag_specification("instance", marks), tag_specification("volume", marks)]
    words: dict[str, Any] = {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, "TagSpecifications": made}
    return account.ec2.run_instances(**words, KeyName=key or f"gpujob-{cluster}")["Instances"][0]["InstanceId"]


def state_of(account: Account, instance_id: str) -> str:
    found = account.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    return found["State"]["Name"]


def test_a_foreign_machine_with_all_our_tags_is_neither_a_cluster_nor_ended_with_one(account):
    ours, theirs = launch(account, "demo"), launch(account, "demo", key="the-web-team")
    assert [node.instance_id for cluster in find_clusters(account) for node in cluster.nodes] == [ours]
    assert [one["InstanceId"] for one in find_foreign(account, "demo")] == [theirs]
    with pytest.raises(GpujobError, match=f"{theirs} in us-east-1 has the tags of 'demo'"):
        remove("demo", [account], lambda _: None)
    assert (state_of(account, ours), state_of(account, theirs)) == ("terminated", "running")
    assert find_remains(account, "demo") == []  # the disk of the foreign machine is not ours either


def test_what_bears_our_tag_under_a_name_that_we_would_not_give_stays(account):
    group = account.ec2.create_security_group(
        GroupName="web", Description="x", TagSpecifications=[tag_specification("security-group", {CLUSTER_TAG: "demo"})]
    )["GroupId"]
    assert remove_cluster(account, "demo", lambda _: None) is False
    assert account.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]


@pytest.mark.parametrize("name", ["*", "dem?", "../demo", "Demo", "", "demo\n"])
def test_a_name_in_a_tag_that_we_would_not_give_is_no_cluster_and_no_pattern(account, name):
    ours = launch(account, "demo")
    launch(account, name, key=f"gpujob-{name}")
    account.ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=1, TagSpecifications=[tag_specification("volume", {CLUSTER_TAG: name})]
    )
    assert [cluster.name for cluster in find_clusters(account)] == ["demo"]
    assert orphans.find_orphans([account], everyone=True) == ([], {})
    assert state_of(account, ours) == "running"


def test_a_wildcard_is_no_image(account):
    with pytest.raises(NotFoundError, match="several images"):
        find_image(account, "*")


WILD = ["1e300", "-5", "nan", "inf", "-inf", "1e9", "free", "", "0x10", "1_000_000", "٣", "9" * 400]


NUMBERS = ("gpujob:price", "gpujob:disk-price", "gpujob:spent", "gpujob:idle-stop", "gpujob:rank")


def test_a_number_beyond_reason_ruins_no_sum(account, tmp_path):
    launch(account, "demo", **{"gpujob:price": "0.5"})
    for number, value in enumerate(WILD):
        launch(account, f"evil-{number}", **dict.fromkeys(NUMBERS, value))
    found = find_clusters(account)
    assert len(found) == len(WILD) + 1
    total = sum(spent_usd(cluster, cluster.launched_at + 3600) for cluster in found)
    addresses = 0.005 * len(found)
    assert total == pytest.approx(0.5 + addresses)
    assert sum(hourly_usd(cluster) for cluster in found) == pytest.approx(0.5 + addresses)
    assert sum(row.usd for row in costs.add_up(found, tmp_path)) < 0.1


@given(st.dictionaries(st.sampled_from([name for name in vars(tags).values() if str(name).startswith("gpujob:")]),
                       st.text(max_size=300)))  # fmt: skip
def test_no_tag_s_value_is_a_crash_or_a_nonsense(values):
    """A cluster made of any tags at all can be added up, shown and written down."""
    moment = SimpleNamespace(timestamp=lambda: 1e9)
    instance = {
        "InstanceId": "i-1", "State": {"Name": "running"}, "InstanceType": "t", "Placement": {}, "LaunchTime": moment,
        "Tags": [{"Key": key, "Value": value} for key, value in values.items()],
    }  # fmt: skip
    for cloud in ("aws", "local"):
        cluster = make_cluster(SimpleNamespace(cloud=cloud, is_local=cloud == "local", region="r"), "demo", [instance])
        assert 0 <= hourly_usd(cluster) < 2000
        assert cluster.gpu_count >= 1
        assert 0 <= cluster.lease_until <= 2**33
        assert cluster.owner.isprintable()
        assert 0 <= cluster.node.port < 65_536
        assert Cluster.from_dict(json.loads(json.dumps(cluster.to_dict()))) == cluster


ROLE = "arn:aws:sts::123456789012:assumed-role/Train"


@pytest.mark.parametrize(
    ("caller", "owner", "own"),
    [
        (f"{ROLE}/botocore-session-1764172800", f"{ROLE}/botocore-session-1764169999", True),
        (f"{ROLE}/1764172800123456789", f"{ROLE}/botocore-session-1764169999", True),
        (f"{ROLE}/ann", f"{ROLE}/ann", True),
        (f"{ROLE}/ann", f"{ROLE}/bob", False),
        (f"{ROLE}/botocore-session-1764172800", f"{ROLE}/bob", False),
        (f"{ROLE}/botocore-session-1764172800", f"{ROLE}2/botocore-session-1764172800", False),
        (
            f"{ROLE}/botocore-session-1764172800",
            "arn:aws:sts::999999999999:assumed-role/Train/botocore-session-1764172800",
            False,
        ),
        ("arn:aws:iam::123456789012:user/1764172800", "arn:aws:iam::123456789012:user/1764172801", False),
        ("arn:aws:iam::123456789012:user/ann", "", False),
    ],
)
def test_sessions_without_a_name_of_their_own_are_one_owner(caller, owner, own):
    assert Identity("123456789012", caller).is_owner(owner) is own


@pytest.mark.parametrize(
    "answer",
    [
        b"0.0.0.0/0", b"0.0.0.0", b"203.0.113.7/24", b"10.1.2.3", b"192.168.0.7", b"100.64.0.9", b"169.254.169.254",
        b"127.0.0.1", b"224.0.0.1", b"255.255.255.255", b"2001:db8::7", b"::/0", b"8.8.8.8, 9.9.9.9", b"8.8.8.8\n0.0.0.0",
        b"", b"<html>sign in</html>", b"8" * 64, "٨.8.8.8".encode(), b"\xff\xfe", b"010.8.8.8",
    ],
)  # fmt: skip
def test_an_answer_that_is_not_one_public_ipv4_address_opens_no_port(answer):
    with pytest.raises(ValueError):
        read_address(answer, "checkip.example")


def test_one_public_address_is_taken_and_loopback_only_from_this_laptop():
    assert read_address(b"8.8.8.8\n", "checkip.example") == "8.8.8.8/32"
    assert read_address(b"127.0.0.1", "127.0.0.1") == "127.0.0.1/32"


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Serve one kind of answer on this laptop; yield where."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_the_question_for_our_address_follows_no_redirect_and_reads_no_long_answer(account):
    def ask(url: str) -> str:
        return find_caller_address(replace(account, cloud="local", checkip_url=url))

    with serving(reply(200, b"127.0.0.1\n")) as good:
        assert ask(good) == "127.0.0.1/32"
        with serving(reply(302, b"", Location=good)) as away, pytest.raises(CloudError, match="302"):
            ask(away)
    with serving(reply(200, b"127.0.0.1" + b" " * 200 + b"and more")) as long, pytest.raises(CloudError):
        ask(long)
    with serving(reply(500, b"127.0.0.1")) as broken, pytest.raises(CloudError, match="500"):
        ask(broken)
    with pytest.raises(UsageError, match="not https"):
        ask("http://checkip.example/")
