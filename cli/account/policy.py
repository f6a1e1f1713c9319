"""The permissions that gpujob needs: policy."""

import click

from cli.terminal import show
from infra.ec2.policy import make_policy

ANYBODYS = """\
With this policy a user can stop, image and terminate every machine that gpujob
launched in the account, whoever launched it, and launch any image. To limit
each user to their own machines and to images of known owners:
  gpujob policy --owner-only"""
OWN = """\
With this policy a user can change and terminate only what has their own id
(aws:userid) in the tag gpujob:owner-id, and launch images of Amazon, Canonical
and this account only. They still see every machine of the account.
A role needs a session name that stays the same (role_session_name in
~/.aws/config): otherwise nobody owns what an earlier session launched."""


@click.command()
@click.option("--owner-only", is_flag=True, help="Limit users to what they launched, and to images of known owners.")
def policy(owner_only: bool) -> None:
    """Print the IAM policy that gpujob needs.

    What the policy allows is explained on stderr.

    \b
    gpujob policy --owner-only > gpujob.json
    aws iam create-policy --policy-name gpujob --policy-document file://gpujob.json
    """  # noqa: D301  click reads the backspace
    show.echo_json(make_policy(owner_only=owner_only))
    show.say(OWN if owner_only else ANYBODYS)
