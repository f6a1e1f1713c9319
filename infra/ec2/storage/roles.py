"""Whether the role of machines may upload to a bucket."""

from contextlib import suppress

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.scaling.policy import EMPTY, LEAVE, MAX_SIZE, READ
from infra.ec2.storage.buckets import AUTO, check_place, name_bucket, ready_bucket
from infra.ec2.storage.policies import MACHINE_GRANTS
from infra.ec2.tags import CLUSTER_TAG, resource_name
from infra.errors import GpujobError, NotFoundError, PermissionsError
from infra.node.agent.aws.parameters import name_parameter

HINT = "gpujob policy --machines"
CLUSTER, NO_ID = "cluster", "00000000-0000-0000-0000-000000000000"  # of a group that need not exist


def check_role(account: Account, profile: str, bucket: str, *, sent: bool = False, secret: bool = False) -> None:
    """Raise GpujobError if machines with this instance profile cannot upload to a bucket.

    With `sent`, they must also be able to work on a sent job; with `secret`, on one that has secrets.
    Raises PermissionsError if the caller may not ask.
    """
    try:
        with aws_errors():
            found = account.iam.get_instance_profile(InstanceProfileName=profile.rpartition("/")[2])["InstanceProfile"]
    except NotFoundError as error:
        what = f"there is no instance profile {profile}, which machines need to upload to the bucket {bucket}"
        raise NotFoundError(what, HINT) from error
    roles = [role["Arn"] for role in found["Roles"]]
    if not roles:
        raise GpujobError(f"the instance profile {profile} has no role to upload to the bucket {bucket} with", HINT)
    refused = find_refused(account, roles[0], bucket, sent=sent)
    refused += find_refused_secrets(account, roles[0]) if secret else []
    if refused:
        raise GpujobError(f"the role of {profile} does not allow {'; '.join(refused)}", HINT)


def ready_uploads(account: Account, profile: str, bucket: str, *, sent: bool = False, secret: bool = False) -> str:
    """Return the name of a bucket that is ready for uploads of machines with this instance profile.

    Raises GpujobError if they could not upload, before anything is created or billed.
    """
    name = name_bucket(account, bucket)
    try:
        check_place(account, name)
    except NotFoundError:
        if bucket != AUTO:
            raise
    with suppress(PermissionsError):  # the caller may not ask; gpujob check says so
        check_role(account, profile, name, sent=sent, secret=secret)
    return ready_bucket(account, bucket)


def find_refused(account: Account, role: str, bucket: str, *, sent: bool) -> list[str]:
    """Return what a role may not do, and where, as IAM simulates it; with `sent`, also to its group."""
    refused, arn = [], f"arn:{account.identity.partition}:s3:::{bucket}"
    for grant in MACHINE_GRANTS:
        if sent or not grant.sent:
            denied = simulate(account, role, grant.actions, f"{arn}{grant.example}")
            refused += [f"{', '.join(denied)} on {bucket}{grant.part}"] if denied else []
    denied = simulate(account, role, (*LEAVE, *EMPTY), name_group(account)) if sent else []
    return [*refused, f"{', '.join(denied)} on its own group"] if denied else refused


def find_refused_secrets(account: Account, role: str) -> list[str]:
    """Return what a role may not do to the secrets of its job, as IAM simulates it."""
    path = name_parameter(f"{CLUSTER}/token/", "NAME")
    resource = f"arn:{account.identity.partition}:ssm:{account.region}:{account.identity.account_id}:parameter{path}"
    denied = simulate(account, role, READ, resource)
    return [f"{', '.join(denied)} on the secrets of its job"] if denied else []


def name_group(account: Account) -> str:
    """Return the ARN of a group of gpujob."""
    owner = account.identity
    place = f"arn:{owner.partition}:autoscaling:{account.region}:{owner.account_id}:autoScalingGroup:{NO_ID}"
    return f"{place}:autoScalingGroupName/{resource_name(CLUSTER)}"


def simulate(account: Account, role: str, actions: tuple[str, ...], resource: str) -> list[str]:
    """Return which actions a role may not take on a resource that has gpujob's tag; a group is set to 0."""
    facts = {f"aws:ResourceTag/{CLUSTER_TAG}": (CLUSTER, "string"), MAX_SIZE: ("0", "numeric")}
    with aws_errors():
        found = account.iam.simulate_principal_policy(
            PolicySourceArn=role,
            ActionNames=list(actions),
            ResourceArns=[resource],
            ContextEntries=[
                {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": kind}
                for name, (value, kind) in facts.items()
            ],
        )
    return [one["EvalActionName"] for one in found["EvaluationResults"] if one["EvalDecision"] != "allowed"]
