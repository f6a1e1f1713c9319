"""The role of a machine on the local cloud: credentials from its metadata, and no more than its policy allows."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.ec2.scaling.policy import make_machine_statements
from infra.local.cloud.server import control
from tests import local_cloud_fixtures as fixtures
from tests.local.test_local_fleet import make_template
from tests.local.test_scaling import Group, create
from tests.local_cloud_fixtures import Machine, World, client, eventually

shared = fixtures.shared
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
ROLE = "gpujob-machine"
READ = """
base=$AWS_EC2_METADATA_SERVICE_ENDPOINT
token=$(curl -sf -X PUT "$base/latest/api/token" -H "X-aws-ec2-metadata-token-ttl-seconds: 60")
ask() { curl -sf "$base/latest/meta-data/iam/security-credentials/$1" -H "X-aws-ec2-metadata-token: $token"; }
role=$(ask "") && ask "$role"
"""


@pytest.fixture(scope="module")
def role(shared: World) -> str:
    """A role that may leave gpujob's groups, in an instance profile of the same name."""
    iam = client(shared.cloud, "iam")
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=TRUST)
    statements = [*make_machine_statements(), {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_role_policy(RoleName=ROLE, PolicyName="leave", PolicyDocument=policy)
    iam.create_instance_profile(InstanceProfileName=ROLE)
    iam.add_role_to_instance_profile(InstanceProfileName=ROLE, RoleName=ROLE)
    return ROLE


@pytest.fixture(scope="module")
def group(shared: World, role: str) -> Group:
    """A group of gpujob's with a machine in that role, and another one."""
    make_template(shared)
    data = {"IamInstanceProfile": {"Name": role}}
    shared.ec2.create_launch_template_version(LaunchTemplateName="demo", SourceVersion="1", LaunchTemplateData=data)
    made = create(shared, "gpujob-away")
    create(shared, "web")
    made.update(MinSize=0, MaxSize=1, DesiredCapacity=1)
    return made


@pytest.fixture(autouse=True)
def plain(shared: World) -> Iterator[None]:
    yield
    control.clear_faults(shared.cloud)
    control.set_caller(shared.cloud)


def read(machine: Machine) -> dict[str, Any]:
    """Read a machine's credentials as a program on it does."""
    code, out, _ = machine.run(READ)
    assert code == 0
    return json.loads(out)


def open_with(world: World, service: str, keys: dict[str, Any], token: str = "") -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=world.cloud.url,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=token or keys["Token"],
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def test_a_machine_acts_in_its_role_as_far_as_its_policy_goes(shared, group, role):
    [one] = group.serving()
    keys = read(Machine(shared, one))
    assert open_with(shared, "sts", keys).get_caller_identity()["Arn"].endswith(f"assumed-role/{role}/{one}")
    scaling, ec2 = open_with(shared, "autoscaling", keys), open_with(shared, "ec2", keys)
    for denied in (
        lambda: ec2.describe_instances(),
        lambda: ec2.terminate_instances(InstanceIds=[one]),
        lambda: scaling.describe_auto_scaling_groups(),
        lambda: scaling.update_auto_scaling_group(AutoScalingGroupName="web", MaxSize=0),
        lambda: scaling.update_auto_scaling_group(AutoScalingGroupName=group.name, MaxSize=9, DesiredCapacity=9),
        lambda: scaling.update_auto_scaling_group(AutoScalingGroupName=group.name, DesiredCapacity=1),
        lambda: scaling.delete_auto_scaling_group(AutoScalingGroupName=group.name, ForceDelete=True),
    ):
        with pytest.raises(
            ClientError, match=rf"(UnauthorizedOperation|AccessDenied).*:assumed-role/{role}/{one} is not authorized"
        ):
            denied()
    with pytest.raises(ClientError, match="AuthFailure"):
        open_with(shared, "sts", keys, token="another").get_caller_identity()
    scaling.terminate_instance_in_auto_scaling_group(InstanceId=one, ShouldDecrementDesiredCapacity=True)
    eventually(lambda: group.describe()["Instances"] == [])
    scaling.update_auto_scaling_group(AutoScalingGroupName=group.name, MinSize=0, MaxSize=0, DesiredCapacity=0)
    assert group.describe()["MaxSize"] == 0


def test_credentials_expire_and_new_ones_are_there_before(shared, role):
    machine = shared.launch(IamInstanceProfile={"Name": role})
    control.add_faults(shared.cloud, "role-expires=2")
    first = read(machine)
    eventually(lambda: read(machine)["AccessKeyId"] != first["AccessKeyId"])
    eventually(lambda: is_refused(shared, first, "ExpiredToken"))
    control.clear_faults(shared.cloud)
    later = eventually(lambda: (new := read(machine))["AccessKeyId"] != first["AccessKeyId"] and new)
    assert open_with(shared, "sts", later).get_caller_identity()["Account"] == "123456789012"
    assert machine.run(READ)[0] == 0
    client(shared.cloud, "iam").remove_role_from_instance_profile(InstanceProfileName=role, RoleName=role)
    assert machine.run(READ)[0] != 0
    client(shared.cloud, "iam").add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)


def is_refused(world: World, keys: dict[str, Any], code: str) -> bool:
    try:
        open_with(world, "sts", keys).get_caller_identity()
    except ClientError as error:
        return code in str(error)
    return False


def test_a_profile_that_is_new_unknown_or_not_the_callers_to_pass_is_refused(shared, role):
    control.add_faults(shared.cloud, "fresh-profiles=3600")
    words = {"IamInstanceProfile": {"Name": role}}
    for launch in (lambda: shared.launch(**words), lambda: shared.launch(IamInstanceProfile={"Name": "none"})):
        with pytest.raises(ClientError, match=r"InvalidParameterValue.*Invalid IAM Instance Profile name"):
            launch()
    template = {"ImageId": shared.image(), "InstanceType": "g5.xlarge", **words}
    shared.ec2.create_launch_template(LaunchTemplateName="in-role", LaunchTemplateData=template)
    named = {"LaunchTemplate": {"LaunchTemplateName": "in-role"}, "MixedInstancesPolicy": None}
    told = {name: value for name, value in named.items() if value}
    scaling = client(shared.cloud, "autoscaling")
    request = {"AutoScalingGroupName": "gpujob-fresh", "MinSize": 0, "MaxSize": 0, "AvailabilityZones": ["us-east-1b"]}
    with pytest.raises(ClientError, match=r"fully-formed launch template. Value \(gpujob-machine\) for parameter"):
        scaling.create_auto_scaling_group(**request, **told)
    control.clear_faults(shared.cloud)
    allowed = [{"Effect": "Allow", "Action": ["autoscaling:*", "ec2:*", "ssm:*"], "Resource": "*"}]
    arn = "arn:aws:iam::123456789012:user/ann"
    control.set_caller(shared.cloud, arn=arn, user_id="AIDAANN", policy={"Statement": allowed})
    for launch in (lambda: shared.launch(**words), lambda: scaling.create_auto_scaling_group(**request, **told)):
        with pytest.raises(ClientError, match="not authorized to perform: iam:PassRole"):
            launch()
    pass_role = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": f"arn:aws:iam::*:role/{role}"}
    control.set_caller(shared.cloud, arn=arn, user_id="AIDAANN", policy={"Statement": [*allowed, pass_role]})
    scaling.create_auto_scaling_group(**request, **told)
    denial = {"Effect": "Deny", "Action": "autoscaling:Delete*", "Resource": "*"}
    control.set_caller(shared.cloud, arn=arn, user_id="AIDAANN", policy={"Statement": [*allowed, denial]})
    with pytest.raises(ClientError, match="AccessDenied"):
        scaling.delete_auto_scaling_group(AutoScalingGroupName="gpujob-fresh")
