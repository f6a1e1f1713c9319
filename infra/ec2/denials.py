"""A denial of IAM, told in full where the caller may know it."""

import json

from botocore.exceptions import BotoCoreError, ClientError

from infra.ec2.account import Account
from infra.errors import PermissionsError


def decode_denial(account: Account, error: PermissionsError) -> PermissionsError:
    """Add what AWS's encoded explanation says, if the caller may decode it.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
    """
    if not error.encoded:
        return error
    try:
        text = account.sts.decode_authorization_message(EncodedMessage=error.encoded)["DecodedMessage"]
        context = json.loads(text)["context"]
        action, resource = context["action"], context["resource"]
    except (ClientError, BotoCoreError, ValueError, KeyError, TypeError):
        error.add_note("(sts:DecodeAuthorizationMessage would tell more, and is not allowed either)")
        return error
    explicit = " by an explicit deny" if json.loads(text).get("explicitDeny") else ""
    return PermissionsError(
        f"the credentials may not do {action} on {resource}{explicit}",
        f"ask whoever manages the account to allow {action}",
    )
