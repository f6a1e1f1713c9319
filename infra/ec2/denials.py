"""Details of an IAM denial, if the caller may decode them."""

import json

from botocore.exceptions import BotoCoreError, ClientError

from infra.ec2.account import Account
from infra.errors import PermissionsError


def decode_denial(account: Account, error: PermissionsError) -> PermissionsError:
    """Return the error with AWS's encoded explanation decoded, if the caller may do that.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
    """
    if not error.encoded:
        return error
    try:
        text = account.sts.decode_authorization_message(EncodedMessage=error.encoded)["DecodedMessage"]
        context = json.loads(text)["context"]
        action, resource = context["action"], context["resource"]
    except (ClientError, BotoCoreError, ValueError, KeyError, TypeError):
        error.add_note("(details need sts:DecodeAuthorizationMessage, which is not allowed either)")
        return error
    explicit = " by an explicit deny" if json.loads(text).get("explicitDeny") else ""
    decoded = PermissionsError(
        f"the credentials do not allow {action} on {resource}{explicit}",
        f"ask your AWS administrator to allow {action}",
    )
    # It may name another action, and the policy that denied.
    decoded.add_note(f"EC2's message: {error.what}")
    return decoded
