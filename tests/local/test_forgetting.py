"""The local cloud forgets terminated instances, so that one that runs for weeks does not grow."""

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.local.cloud import moto_state
from infra.local.cloud.forgetting import forget
from tests.mocked import mocked_aws


def test_a_forgotten_instance_is_not_described_and_the_others_of_its_launch_are(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mocked_aws():
        ec2 = boto3.client("ec2", "us-east-1")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        launched = ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2)["Instances"]
        gone, kept = (each["InstanceId"] for each in launched)
        ec2.create_tags(Resources=[gone], Tags=[{"Key": "name", "Value": "x"}])
        ec2.terminate_instances(InstanceIds=[gone])
        forget(moto_state.find_instance("us-east-1", gone))
        assert [r["Instances"][0]["InstanceId"] for r in ec2.describe_instances()["Reservations"]] == [kept]
        assert not ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [gone]}])["Tags"]
        with pytest.raises(ClientError, match="NotFound"):
            ec2.describe_instances(InstanceIds=[gone])
        forget(moto_state.find_instance("us-east-1", kept))
        assert not ec2.describe_instances()["Reservations"]


def test_a_terminated_instance_can_be_terminated_again(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mocked_aws():
        ec2 = boto3.client("ec2", "us-east-1")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        interface = {"DeviceIndex": 0, "DeleteOnTermination": True}  # as in the template of a sent job
        launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, NetworkInterfaces=[interface])
        ids = [launched["Instances"][0]["InstanceId"]]
        ec2.terminate_instances(InstanceIds=ids)
        [again] = ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
        assert again["PreviousState"]["Name"] == "terminated"
