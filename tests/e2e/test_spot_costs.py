"""What a spot machine costs while its price moves: no more than was promised, and as much as AWS says."""

import json

from infra.local.cloud.server import control
from tests.cloudwatch import watch


def test_costs_follow_the_spot_price_and_are_marked_where_it_is_not_known(laptop):
    up = laptop.type("up", "--dry-run", "--spot", "--instance-type", "g4dn.xlarge", "--max-hours", "2")
    assert up.code == 0, up.said
    assert "a spot price can rise to $0.53/h" in up.err
    assert "$1.10 on AWS including disk" in up.err, "two hours and the power-off, at the on-demand price"
    seen = watch(laptop)
    control.add_faults(seen.cloud, "spot-moves=1")
    (laptop.home / ".local/state/gpujob/cache").rename(laptop.home / "known")
    ran = laptop.type("run", "--", "sleep", "3")
    assert ran.code == 0, ran.said

    def listed() -> dict[str, object]:
        return json.loads(laptop.type("ls", "--json").out)[0]

    node = listed()["nodes"][0]
    assert 0 < node["usd_per_hour"] < 0.526
    receipt = json.loads(laptop.type("receipt", "1", "--json").out)
    assert 0 < receipt["usd_per_hour"] < 0.526
    assert not receipt["at_most"]
    assert "at most" not in laptop.type("cost").said

    control.add_faults(seen.cloud, "denied=ec2:DescribeSpotPriceHistory")
    for file in (laptop.home / ".local/state/gpujob/cache").glob("*-history-*"):
        file.unlink()
    for command in ("ls", "cost"):
        said = laptop.type(command)
        assert "at most $0." in said.out, said.said
        assert "as without ec2:DescribeSpotPriceHistory" in said.err
    assert laptop.type("down").code == 0
    [row] = json.loads(laptop.type("cost", "--json").out)
    assert row["at_most"]


def test_of_several_regions_the_one_with_the_highest_spot_score_is_tried_first_if_aws_says_it(laptop):
    assert laptop.type("check", "--dry-run").code == 0
    seen = watch(laptop)
    two = ("--region", "us-east-1", "--region", "eu-west-1")
    control.add_faults(seen.cloud, "scores=us-east-1:2", "scores=eu-west-1:9")

    def plan(*words: str) -> list[tuple[str, int | None]]:
        planned = laptop.type("up", "--dry-run", "--plan", "--json", "--instance-type", "g4dn.xlarge", *two, *words)
        assert planned.code == 0, planned.said
        return [(one["region"], one["spot_score"]) for one in json.loads(planned.out)["choices"]]

    assert plan("--spot") == [("eu-west-1", 9), ("us-east-1", 2)]
    assert plan() == [("us-east-1", None), ("eu-west-1", None)], "on demand, in the order that was typed"
    words = laptop.type("up", "--dry-run", "--plan", "--spot", "--instance-type", "g4dn.xlarge", *two).err
    assert "eu-west-1 (spot score 9 of 10), then us-east-1 (spot score 2 of 10)" in " ".join(words.split())
    control.add_faults(seen.cloud, "denied=ec2:GetSpotPlacementScores")
    assert plan("--spot") == [("us-east-1", None), ("eu-west-1", None)]
    log = max(laptop.home.glob(".local/state/gpujob/logs/*.log"))
    assert "no spot placement scores" in log.read_text()
