"""The lease: when it is over, what it warns of, and what is billed until then."""

from dataclasses import replace

import pytest

from infra.ec2.machines.lease import WARNING_S, hourly_usd, is_over, make_lease, spent_usd
from infra.errors import Change, UsageError
from infra.model import Cluster, Gpu, LaunchRequest, Lease, Node, Offer

T4 = Offer("g4dn.xlarge", "us-east-1", "on-demand", {"a": 0.5}, Gpu("T4"), 16.0, 4, 16, 0, "")
ADDRESS_USD = 0.005


def cluster(state: str, lease_until: float = 1000.0, nodes: int = 1) -> Cluster:
    machines = tuple(Node(f"i-{n}", state, "h", 22, "t", "z", price_usd=1.0) for n in range(nodes))
    return Cluster("c", "aws", "r", machines, Gpu("T4"), 1.0, lease_until, 3600.0, "o", disk_usd=0.01)


@pytest.mark.parametrize(
    ("state", "until", "now", "over"),
    [
        ("running", 1000.0, 999.9, False),
        ("running", 1000.0, 1000.0, True),
        ("pending", 1000.0, 1001.0, True),
        ("stopped", 1000.0, 1001.0, False),
        ("running", 0.0, 1001.0, False),
        ("running", 0.5, 1001.0, True),
    ],
)
def test_a_lease_is_over_at_its_end_unless_nothing_runs_under_it_or_it_is_unknown(state, until, now, over):
    assert is_over(cluster(state, until), now) is over


@pytest.mark.parametrize("state", ["pending", "running", "shutting-down"])
def test_a_machine_is_billed_from_its_start_until_it_has_ended(state):
    assert hourly_usd(cluster(state, nodes=2)) == pytest.approx(2 * (1.0 + ADDRESS_USD) + 0.01)


@pytest.mark.parametrize("state", ["stopping", "stopped"])
def test_a_machine_that_is_off_is_billed_for_its_disk(state):
    assert hourly_usd(cluster(state)) == pytest.approx(0.01)


def test_nothing_is_spent_before_the_launch():
    assert spent_usd(cluster("running"), 0.0) == 0.0
    assert spent_usd(cluster("running"), 3600.0 + 7200.0) == pytest.approx(2 * (1.0 + ADDRESS_USD + 0.01))


def test_jobs_are_warned_two_minutes_before_the_end_or_a_tenth_of_a_short_lease():
    def lease(hours: float) -> Lease:
        return make_lease([T4], LaunchRequest(max_hours=hours, idle_stop_s=900.0), 0.08, now=0.0)

    assert lease(10).warning_s == WARNING_S == 120
    assert lease(0.2).warning_s == pytest.approx(72)
    assert lease(10).idle_stop_s == 900.0


def test_money_that_pays_for_less_than_six_minutes_is_refused_with_what_an_hour_costs():
    hourly = 0.5 + 100 * 0.073 / 730 + ADDRESS_USD
    request = {"disk_gib": 100, "max_hours": 5}
    assert make_lease([T4], LaunchRequest(max_cost_usd=hourly * 0.135, **request), 0.073, 0.0).until == pytest.approx(
        396
    )
    with pytest.raises(UsageError) as caught:
        make_lease([T4], LaunchRequest(max_cost_usd=hourly * 0.115, **request), 0.073, 0.0)
    assert "pays for 5.4 min at $0.52/h" in caught.value.what
    assert caught.value.change == Change("--max-cost", "0.53")


def test_a_lease_pays_for_the_minute_and_a_half_that_a_machine_may_take_to_power_off():
    hourly = 0.5 + 100 * 0.073 / 730 + ADDRESS_USD
    lease = make_lease([T4], LaunchRequest(disk_gib=100, max_hours=50, max_cost_usd=2.0), 0.073, now=0.0)
    assert lease.most_usd == pytest.approx(2.0)
    assert (lease.until + 90) / 3600 * hourly == pytest.approx(2.0)


def test_money_is_enough_for_a_spot_machine_however_its_price_moves_up_to_the_on_demand_price():
    spot = replace(T4, market="spot", prices={"a": 0.1, "b": 0.2}, on_demand_usd=0.5)
    request = LaunchRequest(disk_gib=100, max_hours=50, max_cost_usd=2.0)
    assert make_lease([spot], request, 0.073, 0.0) == make_lease([T4], request, 0.073, 0.0)


def test_a_lease_that_was_asked_to_be_short_may_be_paid_with_little():
    assert make_lease([T4], LaunchRequest(max_hours=0.01, max_cost_usd=1.0), 0.08, 0.0).until == pytest.approx(36)
