"""The secrets of a sent job: each machine gets them, they are stored encrypted, and nothing of them stays."""

import json
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from infra.ec2.storage.policies import make_machine_policy
from infra.ec2.storage.roles import check_role
from infra.ec2.tags import CLUSTER_TAG, OWNER_ID_TAG
from infra.local.cloud.server import control
from infra.names import MACHINES
from tests.cloudwatch import FEW_REGIONS, client
from tests.conftest import wait_for
from tests.killed_sends import ALLOWED, ANN, BUCKET, Site, open_site

pytestmark = pytest.mark.timeout(300)

WORDS = ("send", "--dry-run", "--max-hours", "1")
TWICE = "import os, sys\nsys.exit(os.environ['TOKEN'] != 'swordfish' or os.environ['GPUJOB_ATTEMPT'] == '1')\n"
VALUE = "swordfish"
"""Of TOKEN, in the environment of the laptop."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("secrets")) as site:
        site.laptop.write("show.py", "import os\nprint('token', os.environ['TOKEN'])\n")
        site.laptop.write("twice.py", TWICE)
        yield site


def test_a_secret_reaches_every_attempt_and_is_nowhere_in_the_clear(site):
    sent = site.laptop.type(*WORDS, "--name", "kept", "--secret", "TOKEN", "--retries", "1", "twice.py")
    assert sent.code == 0, sent.said
    [path] = site.parameters("kept")
    with site.unlimited():
        [stored] = client(site.watch.cloud, "ssm").get_parameters(Names=[path])["Parameters"]
    assert (stored["Type"], path.endswith("/TOKEN")) == ("SecureString", True)
    end = site.wait_for_end("kept")
    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    for key in site.keys("kept"):
        assert VALUE.encode() not in site.read("kept", key), key
    for file in site.laptop.home.glob(".local/state/gpujob/*/*"):
        assert not file.is_file() or VALUE.encode() not in file.read_bytes(), file
    site.give_back("kept")


def test_what_a_sent_job_prints_of_a_secret_is_masked_also_in_an_array(site):
    array = ("--array", "1-2", "show.py")
    for name, words, number in (("one", ("show.py",), "1"), ("many", array, "1.2")):
        sent = site.laptop.type(*WORDS, "--name", name, "--secret", "TOKEN", *words)
        assert sent.code == 0, sent.said
        wait_for(lambda name=name: site.capacity(name) == 0, "end of machines", deadline_s=120)
        assert site.laptop.type("logs", number, "--cluster", name).out == "token ***\n"
        site.give_back(name)


def test_the_secrets_of_an_interrupted_send_are_removed_with_it_or_replaced_by_the_next(site):
    site.kill_send("CreateSecurityGroup:after", "killed", "first")
    assert len(site.parameters("killed")) == 1
    site.laptop.settings["OTHER"] = "second"
    sent = site.laptop.type(*WORDS, "--name", "killed", "--secret", "OTHER", "script.py", "3", ".")
    assert (sent.code, [one.rpartition("/")[2] for one in site.parameters("killed")]) == (0, ["OTHER"]), sent.said
    site.give_back("killed", "--force")
    site.kill_send("PutParameter:after", "left", "left")
    assert len(site.parameters("left")) == 1
    site.give_back("left", "--force")
    assert site.watch.remains() == []


def test_who_may_not_delete_the_secrets_ends_the_machines_and_is_told(site):
    assert site.send("denied", "denied", ends=False).code == 0
    control.add_faults(site.watch.cloud, "denied=ssm:DeleteParameters")
    down = site.laptop.type("down", "denied", "--dry-run", "--force")
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, *FEW_REGIONS)
    assert (down.code, "ssm:DeleteParameters" in down.err, site.watch.living()) == (1, True, []), down.said
    assert len(site.parameters("denied")) == 1
    site.give_back("denied")
    assert site.watch.remains() == []


def test_a_secret_can_be_neither_read_by_users_nor_changed_or_deleted_by_another_one(site):
    assert site.send("mine", "mine", ends=False).code == 0
    [path] = site.parameters("mine")
    ssm = client(site.watch.cloud, "ssm")
    tags = [{"Key": CLUSTER_TAG, "Value": "mine"}, {"Key": OWNER_ID_TAG, "Value": "AIDABOB"}]
    secret = {"Name": path, "Type": "SecureString", "Value": "other"}
    reading = [lambda: ssm.get_parameters(Names=[path]), lambda: ssm.get_parameter(Name=path)]
    changing = [
        lambda: ssm.put_parameter(**secret, Overwrite=True),
        lambda: ssm.put_parameter(**secret, Tags=tags),
        lambda: ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId=path, Tags=tags),
        lambda: ssm.delete_parameters(Names=[path]),
    ]
    bob = {"arn": "arn:aws:iam::123456789012:user/bob", "user_id": "AIDABOB"}
    for caller, attempts in ((ANN, reading), (bob, [*reading, *changing])):
        control.set_caller(site.watch.cloud, **caller, policy=ALLOWED)
        for attempt in attempts:
            with pytest.raises(ClientError, match="AccessDenied"):
                attempt()
    control.set_caller(site.watch.cloud, **ANN, policy=ALLOWED)
    site.give_back("mine", "--force")


def test_a_job_whose_secret_was_deleted_ends_with_the_reason(site):
    control.add_faults(site.watch.cloud, "no-capacity=g*")
    assert site.send("gone", "gone").code == 0
    [path] = site.parameters("gone")
    client(site.watch.cloud, "ssm").delete_parameters(Names=[path])
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, *FEW_REGIONS)
    end = site.wait_for_end("gone")
    assert (end["state"], end["reason"]) == ("failed", "the secret TOKEN is no longer in AWS's Parameter Store")
    site.give_back("gone")


def set_policy(site: Site, statements: list[object]) -> None:
    """Replace what the role of machines may do."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    with site.unlimited():
        client(site.watch.cloud, "iam").put_role_policy(RoleName=MACHINES, PolicyName="gpujob", PolicyDocument=policy)


def test_a_role_that_may_not_read_secrets_is_refused_before_anything_is_stored(site):
    less = [each for each in make_machine_policy()["Statement"] if each["Sid"] != "ReadSecrets"]
    set_policy(site, less)
    refused = site.send("refused", "refused")
    assert (
        refused.code,
        f"the role of {MACHINES} does not allow ssm:GetParameters on the secrets of its job" in refused.err,
    ) == (1, True), refused.said
    assert [one for one in site.watch.remains() if "gpujob-refused" in one] == site.parameters("refused") == []
    check_role(site.account, MACHINES, BUCKET, sent=True)
    set_policy(site, make_machine_policy()["Statement"])


@pytest.mark.parametrize(
    ("name", "value", "said"), [("TOKEN", "x" * 4097, "more than 4096 bytes"), ("É", "x", "from A to Z")]
)
def test_a_secret_that_aws_cannot_store_is_refused(site, name, value, said):
    site.laptop.settings[name] = value
    refused = site.laptop.type(*WORDS, "--secret", name, "show.py")
    site.laptop.settings.update(TOKEN=VALUE)
    assert (refused.code, said in refused.err) == (2, True), refused.said
