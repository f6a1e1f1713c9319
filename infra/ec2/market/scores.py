"""Spot placement scores: how likely a region is to have spot machines now.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-placement-score.html
"""

import logging
from collections.abc import Sequence

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.errors import CloudError

log = logging.getLogger(__name__)
HIGHEST = 10


def find_scores(account: Account, types: Sequence[str], nodes: int, regions: Sequence[str]) -> dict[str, int]:
    """Return the scores of these regions, 1 to 10; none if AWS does not say, which the log explains.

    A score for fewer than three types is always low, but regions can still be compared by it.
    """
    try:
        with aws_errors():
            answer = account.ec2.get_spot_placement_scores(
                InstanceTypes=sorted(types), TargetCapacity=nodes, RegionNames=list(regions)
            )
    except CloudError as error:
        log.info("no spot placement scores: %s", error.what)
        return {}
    return {one["Region"]: one["Score"] for one in answer["SpotPlacementScores"]}
