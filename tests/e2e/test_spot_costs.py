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
        assert "needs ec2:DescribeSpotPriceHistory" in said.err
    assert laptop.type("down").code == 0
    [row] = json.loads(laptop.type("cost", "--json").out)
    assert row["at_most"]
