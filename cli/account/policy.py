"""Print the permissions that gpujob needs: policy."""

import json

import click

from cli.options.declared import option
from cli.terminal import show
from infra.ec2.policy import make_policy
from infra.errors import UsageError
from infra.names import MACHINES as ROLE

ANYBODYS = """\
With this policy, a user can stop, image and terminate every machine launched by
gpujob in the account, by any user, and launch any image. To limit users to
their own machines and to images of known owners:
  gpujob policy --owner-only"""
OWN = """\
With this policy, a user can change and terminate only resources with their own
ID (aws:userid) in the tag gpujob:owner-id, and launch only images of Amazon,
Canonical and this account. They still see every machine in the account.
A role needs a fixed session name (role_session_name in ~/.aws/config);
otherwise no one owns resources launched in an earlier session."""

MACHINES = """\
With this policy, a machine can write to every bucket named gpujob-*, read it,
and delete outputs that it has replaced: one bucket is one trust domain. It can
read the secrets of all sent jobs. For another bucket, replace gpujob-* by its
name. An administrator makes the role once:
  gpujob policy --machines > machines.json
  aws iam create-role --role-name {role} \\
    --assume-role-policy-document '{trust}'
  aws iam put-role-policy --role-name {role} --policy-name gpujob \\
    --policy-document file://machines.json
  aws iam create-instance-profile --instance-profile-name {role}
  aws iam add-role-to-instance-profile --instance-profile-name {role} \\
    --role-name {role}"""
SEND = """\
These are the permissions that gpujob send needs as well: Auto Scaling groups
with gpujob's tag and name, buckets named gpujob-*, and secrets in the Parameter
Store, which users can write and delete but not read. Attach them to the same
users as the output of: gpujob policy"""
USERS = """\
With this policy, a user can create buckets named gpujob-*, and read and delete
every job in them. It comes on top of the output of: gpujob policy"""


@click.command()
@option("--owner-only", is_flag=True, help="Limit users to their own machines and to images of known owners.")
@option("--machines", is_flag=True, help="Print the policy of machines that upload to a bucket.")
@option("--buckets", is_flag=True, help="Print the permissions that users of a bucket need as well.")
@option("--send", is_flag=True, help="Print the permissions that send needs as well.")
def policy(owner_only: bool, machines: bool, buckets: bool, send: bool) -> None:
    """Print the IAM policy that gpujob needs.

    An explanation of the policy is printed to stderr.

    \b
    gpujob policy --owner-only > gpujob.json
    aws iam create-policy --policy-name gpujob \\
      --policy-document file://gpujob.json
    """  # noqa: D301  click reads the backspace
    if machines + buckets + (owner_only or send) > 1:
        raise UsageError("each of these options prints a policy of its own", "use one of them")
    if machines or buckets or send:
        from infra.ec2.storage import policies

    if send:
        show.echo_json(policies.make_send_policy(owner_only=owner_only))
        show.say(SEND)
        return
    if machines or buckets:
        show.echo_json(policies.make_machine_policy() if machines else policies.make_user_policy())
        show.say(MACHINES.format(trust=json.dumps(policies.make_trust()), role=ROLE) if machines else USERS)
        return
    show.echo_json(make_policy(owner_only=owner_only))
    show.say(OWN if owner_only else ANYBODYS)
