"""Auto Scaling's calls about tags.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-tagging.html
"""

from infra.local.cloud.answers import Tree
from infra.local.cloud.request import Request, items
from infra.local.cloud.scaling import groups


def put(request: Request) -> dict[str, Tree]:
    """Answer CreateOrUpdateTags; machines that run already keep their tags."""
    for tag in items(request.tree().get("Tags", {}).get("member")):
        group = groups.find(request.region, tag.get("ResourceId", ""))
        group.tags[tag["Key"]] = (tag.get("Value", ""), tag.get("PropagateAtLaunch") == "true")
    return {}


def delete(request: Request) -> dict[str, Tree]:
    """Answer DeleteTags."""
    for tag in items(request.tree().get("Tags", {}).get("member")):
        groups.find(request.region, tag.get("ResourceId", "")).tags.pop(tag["Key"], None)
    return {}
