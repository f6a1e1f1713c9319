"""EC2's limits for tags, which moto does not have.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
"""

from collections.abc import Iterator

from infra.local.cloud.answers import Answer, error
from infra.local.cloud.request import Request, items

MOST = 50


def refuse(request: Request) -> Answer | None:
    """Return EC2's refusal of the tags in a request; None if they are valid."""
    for tags in tags_of(request):
        if len(tags) > MOST:
            return error("ec2", "TagLimitExceeded", "You have reached the maximum number of tags")
        for key, value in tags.items():
            words = find_fault(key, value)
            if words:
                return error("ec2", "InvalidParameterValue", words)
    return None


def tags_of(request: Request) -> Iterator[dict[str, str]]:
    """Yield the tags in a request for each kind of resource."""
    tree = request.tree()
    data = tree.get("LaunchTemplateData", {}) if request.action == "CreateLaunchTemplate" else {}
    for one in [*items(tree.get("TagSpecification")), *items(data.get("TagSpecification"))]:
        yield {tag["Key"]: tag.get("Value", "") for tag in items(one.get("Tag"))}
    if request.action == "CreateTags":
        yield {tag["Key"]: tag.get("Value", "") for tag in items(tree.get("Tag"))}


def find_fault(key: str, value: str) -> str:
    """Return what is wrong with a tag; "" for nothing."""
    if key.lower().startswith("aws:"):
        return "Tag keys starting with 'aws:' are reserved for internal use"
    if not 0 < len(key) <= 128:
        return f"Tag key exceeds the maximum length of 128 characters: '{key[:20]}...'"
    return f"Tag value exceeds the maximum length of 256 characters: '{value[:20]}...'" if len(value) > 256 else ""
