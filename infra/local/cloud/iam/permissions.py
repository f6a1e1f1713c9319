"""The permissions that a call needs on each resource, and AWS's refusal of a call without them.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
"""

import base64
import json
import re
import zlib
from dataclasses import dataclass
from xml.sax.saxutils import escape

from infra.local.cloud import accounts, moto_state
from infra.local.cloud.answers import Answer, error
from infra.local.cloud.request import Request, items
from infra.local.cloud.scaling import groups
from infra.local.cloud.scaling.actions import read_tags

CALLER = "arn:aws:iam::123456789012:user/gpujob"

# Services with the query protocol, whose code for a denial is shorter.
QUERY = ("autoscaling", "iam", "s3", "sts")
ALSO = "Also."
"""Precedes the name of a further action that a request to S3 needs."""
# IAM's action prefix where it differs from the service name that requests are signed for.
PREFIXES = {"service-quotas": "servicequotas"}
KINDS = {
    "i": "instance",
    "vol": "volume",
    "eni": "network-interface",
    "sg": "security-group",
    "lt": "launch-template",
    "subnet": "subnet",
    "vpc": "vpc",
    "ami": "image",
    "snap": "snapshot",
    "fleet": "fleet",
    "sgr": "security-group-rule",
    "cr": "capacity-reservation",
    "key": "key-pair",
}
ID = re.compile(rf"({'|'.join(KINDS)})-[0-9a-f-]{{8,}}")
CREATED = {
    "CreateSecurityGroup": ("security-group",),
    "ImportKeyPair": ("key-pair",),
    "CreateLaunchTemplate": ("launch-template",),
    "CreateFleet": ("fleet",),
    "CreateImage": ("image", "snapshot"),
    "RunInstances": ("instance", "volume", "network-interface"),
}
"""What is created by each action that accepts tags; spot requests are added where one is made."""


@dataclass(frozen=True)
class Need:
    """One permission that a call needs on one resource, with the facts for conditions."""

    action: str
    resource: str
    request_tags: dict[str, str]
    resource_tags: dict[str, str]
    create_action: str = ""
    owner: str = ""
    """Of an image: `amazon` or an account number."""
    passed_to: str = ""
    """The service that a role is passed to."""
    max_size: str = ""
    """Of an Auto Scaling group, in a request that says it."""


def actions_of(request: Request) -> list[str]:
    """List the permissions that a call needs."""
    return sorted({need.action for need in needs_of(request)})


def needs_of(request: Request) -> list[Need]:
    """List what a call needs per resource; a fleet needs what launching from its template needs."""
    name = f"{PREFIXES.get(request.service, request.service)}:{request.action}"
    if request.service == "autoscaling":
        return [_need_of_group(request, name)]
    if request.service == "ssm":
        return _needs_of_parameters(request, name)
    if request.service != "ec2":
        found = [Need(name, one, {}, {}) for one in (_other_resource(request), *request.values("Arn"))]
        also = {key: one for key, one in request.params.items() if key.startswith(ALSO)}
        return [*found, *(Need(f"s3:{key.removeprefix(ALSO)}", one, {}, {}) for key, one in also.items())]
    found = [*_named(request, name), *_created(request, name), *_passed(request)]
    return found or [Need(name, "*", {}, {})]


def _other_resource(request: Request) -> str:
    if request.action == "GetInstanceProfile":
        return f"arn:aws:iam::123456789012:instance-profile/{request.params.get('InstanceProfileName', '')}"
    return request.params.get({"s3": "Arn", "iam": "PolicySourceArn"}.get(request.service, ""), "*")


def _needs_of_parameters(request: Request, action: str) -> list[Need]:
    """List the needs on each parameter; those of AWS itself belong to no account.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html
    """
    added = {tag["Key"]: tag["Value"] for tag in request.body.get("Tags", ())}
    needs = []
    for path in request.body.get("Names") or [request.body.get("Name", "")]:
        account = "" if path.startswith("/aws/") else "123456789012"
        arn = f"arn:aws:ssm:{request.region}:{account}:parameter{path}"
        tags = accounts.parameter_tags(request.region, path)
        needs += [Need(one, arn, added, tags) for one in (action, *(("ssm:AddTagsToResource",) if added else ()))]
    return needs


def _need_of_group(request: Request, action: str) -> Need:
    """Return the need on an Auto Scaling group, however the call names it; on all to describe them.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html
    """
    if request.action.startswith("Describe"):
        return Need(action, "*", {}, {})
    added = (
        {} if request.action == "DeleteTags" else {key: value for key, (value, _) in read_tags(request.tree()).items()}
    )
    name = request.params.get("AutoScalingGroupName") or request.params.get("Tags.member.1.ResourceId", "")
    name = name or groups.group_of(request.region, request.params.get("InstanceId", ""))
    arn, tags = groups.arn_of(request.region, name), groups.tags_of(request.region, name)
    return Need(action, arn, added, tags, max_size=request.params.get("MaxSize", ""))


def _named(request: Request, action: str) -> list[Need]:
    """List the needs on existing resources, which are named by id, or by name for key pairs."""
    if request.action.startswith("Describe") or request.action == "CreateLaunchTemplate":
        return []
    # What a template says is checked when machines are launched from it.
    told = {name: v for name, v in request.params.items() if not name.startswith(("Tag", "LaunchTemplateData"))}
    found = {v for v in told.values() if ID.fullmatch(v)}
    named = [(f"{KINDS[one.partition('-')[0]]}/{one}", one) for one in sorted(found)]
    template = request.params.get("LaunchTemplateName")
    if template and request.action != "CreateLaunchTemplate":
        known = moto_state.find_template(request.region, None, template)
        named += [(f"launch-template/{known.id}", known.id)] if known else []
    if request.action == "RunInstances" and "sg" not in kinds_of(found):
        named.append(("security-group/default", ""))  # EC2 uses the network's default group, which has no tags
    key = request.params.get("KeyName")
    if key and request.action != "ImportKeyPair":
        named.append((f"key-pair/{key}", moto_state.key_pair_id(request.region, key)))
    return [
        Need(action, _arn(request, path), {}, moto_state.tags(request.region, one), owner=_owner(request, path))
        for path, one in named
    ]


def _passed(request: Request) -> list[Need]:
    """List the needs on the roles that a launch gives to machines."""
    if request.action != "RunInstances":
        return []
    passed = {"passed_to": "ec2.amazonaws.com"}
    return [Need("iam:PassRole", role, {}, {}, **passed) for role in accounts.find_roles(request)]


def kinds_of(ids: set[str]) -> set[str]:
    """Return the prefixes of some ids: i, sg, subnet."""
    return {one.partition("-")[0] for one in ids}


def _owner(request: Request, path: str) -> str:
    kind, _, key = path.partition("/")
    return moto_state.owner_of(request.region, key) if kind == "image" else ""


def _created(request: Request, action: str) -> list[Need]:
    kinds = CREATED.get(request.action, ())
    if request.action == "RunInstances" and request.params.get("InstanceMarketOptions.MarketType") == "spot":
        kinds = (*kinds, "spot-instances-request")
    needs = []
    for kind in kinds:
        tags = request.tags_for(kind)
        needs.append(Need(action, _arn(request, f"{kind}/*"), tags, {}))
        if tags:
            needs.append(Need("ec2:CreateTags", _arn(request, f"{kind}/*"), tags, {}, request.action))
    if request.action == "CreateTags":
        tags = {tag["Key"]: tag.get("Value", "") for tag in items(request.tree().get("Tag"))}
        return [Need(n.action, n.resource, tags, n.resource_tags) for n in _named(request, action)]
    return needs


def _arn(request: Request, path: str) -> str:
    owner = "" if path.startswith(("image/", "snapshot/")) else "123456789012"
    return f"arn:aws:ec2:{request.region}:{owner}:{path}"


def need_of(request: Request, action: str) -> Need:
    """Return the first need of a call for an action."""
    return next((need for need in needs_of(request) if need.action == action), Need(action, "*", {}, {}))


def refusal(need: Need, caller: str = CALLER) -> tuple[str, str]:
    """Return EC2's error code and message for a missing permission, including the encoded details."""
    action = need.action
    context = {"principal": {"arn": caller}, "action": action, "resource": need.resource, "conditions": {"items": []}}
    facts = {"allowed": False, "explicitDeny": False, "matchedStatements": {"items": []}, "context": context}
    encoded = base64.urlsafe_b64encode(zlib.compress(json.dumps(facts).encode())).decode().rstrip("=")
    return "UnauthorizedOperation", (
        f"You are not authorized to perform this operation. User: {caller} is not authorized to perform: {action} on"
        f" resource: {need.resource} because no identity-based policy allows the {action} action."
        f" Encoded authorization failure message: {encoded}"
    )


def deny(request: Request, need: Need, caller: str = CALLER) -> Answer:
    """Refuse a call without a permission."""
    if request.service == "ec2":
        return error("ec2", *refusal(need, caller), 403)
    words = f"User: {caller} is not authorized to perform: {need.action}"
    return error(request.service, "AccessDenied" if request.service in QUERY else "AccessDeniedException", words, 403)


def deny_region(request: Request) -> Answer:
    """Refuse a call in a region that a service control policy has closed."""
    name = f"{PREFIXES.get(request.service, request.service)}:{request.action}"
    words = f"User: {CALLER} is not authorized to perform: {name} with an explicit deny in a service control policy"
    if request.service == "ec2":
        return error("ec2", "UnauthorizedOperation", f"You are not authorized to perform this operation. {words}", 403)
    return error(request.service, "AccessDenied" if request.service in QUERY else "AccessDeniedException", words, 403)


def deny_disabled_region(request: Request) -> Answer:
    """Refuse a call in a region that is not enabled, with the error that wrong credentials get.

    https://docs.aws.amazon.com/general/latest/gr/rande-manage.html
    """
    if request.service == "ec2":
        return error("ec2", "AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    words = "The security token included in the request is invalid"
    code = "InvalidClientTokenId" if request.service == "sts" else "UnrecognizedClientException"
    return error(request.service, code, words, 403)


def decode_authorization_message(request: Request) -> Answer:
    """Answer STS's DecodeAuthorizationMessage for a message encoded by `refusal`."""
    message = request.params.get("EncodedMessage", "")
    try:
        decoded = zlib.decompress(base64.urlsafe_b64decode(message + "=" * (-len(message) % 4))).decode()
    except (ValueError, zlib.error):
        return error("sts", "InvalidAuthorizationMessageException", "The message is not valid.")
    result = f"<DecodedMessage>{escape(decoded)}</DecodedMessage>"
    space = "https://sts.amazonaws.com/doc/2011-06-15/"
    words = "DecodeAuthorizationMessage"
    body = f'<{words}Response xmlns="{space}"><{words}Result>{result}</{words}Result></{words}Response>'
    return Answer(200, "text/xml", body.encode())
