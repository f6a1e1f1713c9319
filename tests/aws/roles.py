"""`gpujob policy` on a fresh role: enough to launch and terminate a machine."""

import json

from botocore.exceptions import ClientError

from tests.aws.session import NotRunError, Session, remove_role

DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


def check_policy(session: Session) -> str:
    """A role with nothing but the policy launches a machine, runs a job on it and terminates it."""
    if session.local:
        raise NotRunError("the local cloud has no roles; tests/ec2/test_policy.py checks the policy there")
    policy = session.gpujob("policy")
    role = session.as_caller(assume_role(session, policy))
    try:
        role.launch("role", "--idle-stop", "never")
        role.gpujob("run", "--cluster", role.name("role"), "--no-deps", "--", "true")
        role.gpujob("down", role.name("role"), "--yes")
    finally:
        remove_role(session)
    return f"{len(json.dumps(json.loads(policy), separators=(',', ':')))} characters: up, run, down"


def assume_role(session: Session, policy: str) -> dict[str, str]:
    """Create a role with a policy and return the variables with its credentials; raises NotRunError if that is denied."""
    iam, sts, name = session.client("iam"), session.client("sts"), session.name("role")
    account = sts.get_caller_identity()["Account"]
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    try:
        made = iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
            MaxSessionDuration=3600,
            Tags=[{"Key": "gpujob:cluster", "Value": name}],
        )["Role"]
        iam.put_role_policy(RoleName=name, PolicyName="gpujob", PolicyDocument=policy)
    except ClientError as error:
        if error.response["Error"]["Code"] not in DENIED:
            raise
        raise NotRunError(f"needs permission to create a role: {error}") from error

    def assume() -> dict[str, str] | None:
        try:
            return dict(sts.assume_role(RoleArn=made["Arn"], RoleSessionName="acceptance")["Credentials"])
        except ClientError as error:  # a new role is not known everywhere yet
            if error.response["Error"]["Code"] not in DENIED:
                raise
            return None

    given = session.wait(assume, "permission to assume the new role", 90)
    return {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
        "AWS_PROFILE": "",
    }
