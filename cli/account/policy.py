"""Print the permissions that gpujob needs: policy."""

import click

from cli.options.declared import option
from cli.terminal import show
from infra.ec2.policy import make_policy
from infra.ec2.scaling.policy import make_statements

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

SEND = """\
These are the additional permissions for gpujob send: Auto Scaling groups with
gpujob's tag and name. Attach them to the same users as the other policy."""


@click.command()
@option("--owner-only", is_flag=True, help="Limit users to their own machines and to images of known owners.")
@option("--send", is_flag=True, help="Print the additional permissions for gpujob send.")
def policy(owner_only: bool, send: bool) -> None:
    """Print the IAM policy that gpujob needs.

    An explanation of the policy is printed to stderr.

    \b
    gpujob policy --owner-only > gpujob.json
    aws iam create-policy --policy-name gpujob \\
      --policy-document file://gpujob.json
    """  # noqa: D301  click reads the backspace
    if send:
        show.echo_json({"Version": "2012-10-17", "Statement": make_statements(owner_only=owner_only)})
        show.say(SEND)
        return
    show.echo_json(make_policy(owner_only=owner_only))
    show.say(OWN if owner_only else ANYBODYS)
