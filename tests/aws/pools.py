"""What EC2 says of fleets that launch nothing: they offer less for a spot machine than any costs."""

import uuid
from collections import Counter
from typing import Any

from botocore.exceptions import ClientError

from infra.ec2.tags import CLUSTER_TAG, tag_specification
from tests.aws.session import FailedError, Session

TOO_LITTLE_USD = "0.001"
TYPES = ("t3.micro", "t3.small", "t3.medium", "m5.large")
POOLS = 6


def make_fleet(session: Session) -> dict[str, Any]:
    """Return a request for one spot machine from six pools that cannot have it."""
    ec2, name = session.client("ec2"), session.name("pools")
    tags = {CLUSTER_TAG: name}
    made = ec2.create_launch_template(
        LaunchTemplateName=f"gpujob-{name}",
        LaunchTemplateData={"ImageId": session.facts["ubuntu"]},
        TagSpecifications=[tag_specification("launch-template", tags)],
    )["LaunchTemplate"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    pools = [(kind, one["SubnetId"]) for kind in TYPES for one in subnets][:POOLS]
    if len(pools) < POOLS:
        raise FailedError(f"the region has {len(subnets)} default subnets, which is too few for {POOLS} pools")
    overrides = [{"InstanceType": kind, "SubnetId": subnet, "MaxPrice": TOO_LITTLE_USD} for kind, subnet in pools]
    template = {"LaunchTemplateId": made["LaunchTemplateId"], "Version": "$Latest"}
    return {
        "Type": "instant",
        "ClientToken": uuid.uuid4().hex,
        "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"},
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": template, "Overrides": overrides}],
        "TagSpecifications": [tag_specification("fleet", tags)],
    }


def ask(session: Session, request: dict[str, Any]) -> dict[str, Any]:
    """Send the request; raises FailedError, after terminating it, if it launches a machine all the same."""
    ec2 = session.client("ec2")
    answer: dict[str, Any] = ec2.create_fleet(**request)
    launched = [one for entry in answer.get("Instances", []) for one in entry["InstanceIds"]]
    if launched:
        ec2.terminate_instances(InstanceIds=launched)
        raise FailedError(f"a machine for {TOO_LITTLE_USD} USD: {', '.join(launched)}, terminated")
    return answer


def check_pools(session: Session) -> str:
    """EC2 answers for each pool, or says UnfulfillableCapacity of those that it did not try."""
    request = session.facts["fleet"] = make_fleet(session)
    answer = session.facts["answer"] = ask(session, request)
    codes = Counter(error["ErrorCode"] for error in answer["Errors"])
    said = ", ".join(f"{count} {code}" for code, count in sorted(codes.items()))
    strange = set(codes) - {"SpotMaxPriceTooLow", "UnfulfillableCapacity"}
    if strange or not codes:
        raise FailedError(
            f"of {POOLS} pools: {said or 'no errors'}: {[one['ErrorMessage'] for one in answer['Errors']]}"
        )
    return f"of {POOLS} pools: {said}"


def check_tokens(session: Session) -> str:
    """A client token that EC2 knows launches nothing again."""
    request, before = session.facts["fleet"], session.facts["answer"]
    try:
        answer = ask(session, request)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code != "IdempotentParameterMismatch":
            raise
        return f"the same request again: {code}"
    if answer["FleetId"] != before["FleetId"]:
        raise FailedError(f"the same request again made another fleet: {answer['FleetId']}, not {before['FleetId']}")
    return "the same request again: the same fleet"
