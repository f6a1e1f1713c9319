"""CreateFleet of type instant as AWS answers it: what was launched, and why the rest was not.

Each launch goes through RunInstances with the launch template's own parameters, so that none is lost.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instant-fleet.html
"""

import math
import re
from dataclasses import dataclass, field, replace
from html import unescape
from typing import Any

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, Tree, ec2_answer, error
from infra.local.cloud.faults import Faults
from infra.local.cloud.machines.capacity import Capacity, Pool, Refusal, no_capacity
from infra.local.cloud.machines.launch import MARKET, RESERVATION, Moto, instance_ids, launch
from infra.local.cloud.machines.templates import Template, Templates
from infra.local.cloud.market import prices
from infra.local.cloud.market import spot as spot_prices
from infra.local.cloud.market.reservations import WRONG_MARKET
from infra.local.cloud.request import Request, items

SHOWN = ("InstanceType", "MaxPrice", "SubnetId", "AvailabilityZone", "WeightedCapacity", "Priority", "ImageId")
BY_PRIORITY = ("prioritized", "capacity-optimized-prioritized")
# An instant fleet tries about three pools. Single source, measured on spot: six pools below the spot price gave three
# SpotMaxPriceTooLow and three UnfulfillableCapacity.
POOLS_TRIED = 3
UNFULFILLABLE = (
    "UnfulfillableCapacity",
    "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again.",
)

_ERROR = re.compile(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)
_FLEET = re.compile(rb"<fleetId>(fleet-[0-9a-f-]+)</fleetId>")


@dataclass(frozen=True)
class Choice:
    """A launch template with one override: a pool, and the parameters for launching from it."""

    template: Template
    override: dict[str, str]
    params: dict[str, str]
    pool: Pool
    price_usd: float
    """Price per hour; infinite for a type without a price."""

    @property
    def weight(self) -> float:
        """Units of capacity that one machine counts for."""
        return float(self.override.get("WeightedCapacity", 1))

    def show(self, **facts: Tree) -> dict[str, Tree]:
        """Return an entry for the answer's instances or errors."""
        overrides: Tree = {name[0].lower() + name[1:]: self.override[name] for name in SHOWN if name in self.override}
        template: Tree = {"launchTemplateId": self.template.template_id, "version": str(self.template.version)}
        both: Tree = {"launchTemplateSpecification": template, "overrides": overrides}
        return {"launchTemplateAndOverrides": both, "lifecycle": "spot" if self.pool.spot else "on-demand", **facts}


@dataclass
class Fleet:
    """A fleet being launched: where from, and the results so far."""

    id: str
    request: Request
    moto: Moto
    capacity: Capacity
    count: int = 0
    """Number of machines."""
    instances: list[dict[str, Tree]] = field(default_factory=list)
    errors: list[dict[str, Tree]] = field(default_factory=list)

    def fill(self, choices: list[Choice], target: float) -> None:
        """Launch from the choices in order until the target is met or three pools were tried."""
        left = target
        for number, choice in enumerate(choices):
            if left > 0 and number < POOLS_TRIED:
                left -= choice.weight * self._launch(choice, math.ceil(left / choice.weight))
            elif left > 0:
                self.errors.append(choice.show(errorCode=UNFULFILLABLE[0], errorMessage=UNFULFILLABLE[1]))

    def _launch(self, choice: Choice, wanted: int) -> int:
        room, refusal = self.capacity.find_room(choice.pool, wanted)
        most = self.capacity.most()
        if most is not None and most - self.count < room:
            room, refusal = most - self.count, no_capacity(choice.pool)
        barred = self.capacity.find_bar(choice.template.template_id, self.id, choice.pool) or _price_refusal(choice)
        refusal = barred or refusal
        count = 0 if barred else max(0, min(room, wanted))
        ids: tuple[str, ...] = ()
        if count:
            numbers = {"MinCount": str(count), "MaxCount": str(count)}
            asked = replace(self.request, action="RunInstances", params=choice.params | numbers)
            answer = launch(asked, self.moto, self.capacity.faults)
            ids = instance_ids(answer)
            self.capacity.enter(choice.pool, ids)
            refusal = _read_refusal(answer) or refusal
        self.count += len(ids)
        if ids:
            template = choice.template
            moto_state.enter_fleet(self.request.region, self.id, ids, template.template_id, template.version)
            zone: Tree = {"availabilityZone": choice.pool.zone} if choice.pool.zone else {}
            found = choice.show(instanceIds=list(ids), instanceType=choice.pool.instance_type)
            self.instances.append(found | (zone if isinstance(zone, dict) else {}))
        if refusal and len(ids) < wanted:
            self.errors.append(choice.show(errorCode=refusal[0], errorMessage=refusal[1]))
        return len(ids)


def create_fleet(request: Request, moto: Moto, templates: Templates, capacity: Capacity) -> Answer:
    """Launch an instant fleet; other types are left to moto."""
    asked = request.tree()
    if asked.get("Type") != "instant":
        return moto(request)
    named = [config.get("LaunchTemplateSpecification", {}) for config in items(asked.get("LaunchTemplateConfigs"))]
    wrong = _find_contradiction(request, asked, named, templates)
    if wrong:
        return error("ec2", *wrong)
    missing = next((one for one in named if templates.find(request.region, one) is None), None)
    if missing is not None:
        return _no_template(missing)
    with moto_state.LOCK:
        entered = _enter(request, moto)
        found = _FLEET.search(entered.body)
        if found is None:
            return entered
        fleet = Fleet(found[1].decode(), request, moto, capacity)
        for spot, target in _targets(asked.get("TargetCapacitySpecification", {})).items():
            options = asked.get("SpotOptions" if spot else "OnDemandOptions", {})
            fleet.fill(
                _pick(_choices(request, asked, templates, spot, capacity.faults), options, target, fleet), target
            )
    content: dict[str, Tree] = {"errorSet": list(fleet.errors), "fleetInstanceSet": list(fleet.instances)}
    return ec2_answer("CreateFleet", {"fleetId": fleet.id, **content})


def _find_contradiction(
    request: Request, asked: dict[str, Any], named: list[dict[str, str]], templates: Templates
) -> Refusal | None:
    """Refuse a Capacity Block that is not named as the market, and further options with it.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-launch-instances-capacity-blocks-walkthrough.html
    """
    found = [templates.find(request.region, one) for one in named]
    markets = {one.data.get(MARKET, "") for one in found if one}
    target = asked.get("TargetCapacitySpecification", {})
    is_block = target.get("DefaultTargetCapacityType") == "capacity-block"
    if markets and is_block != (markets == {"capacity-block"}):
        return WRONG_MARKET
    counts = {"OnDemandTargetCapacity", "SpotTargetCapacity"} & set(target)
    if is_block and (counts or "CapacityReservationOptions" in asked.get("OnDemandOptions", {})):
        return "InvalidParameterCombination", "These options are not supported with capacity-block."
    return None


def _no_template(asked: dict[str, str]) -> Answer:
    if "LaunchTemplateId" in asked:
        words = f"The specified launch template, with template ID {asked['LaunchTemplateId']}, does not exist."
        return error("ec2", "InvalidLaunchTemplateId.NotFound", words)
    words = f"The specified launch template, with template name {asked.get('LaunchTemplateName')}, does not exist."
    return error("ec2", "InvalidLaunchTemplateName.NotFoundException", words)


def _enter(request: Request, moto: Moto) -> Answer:
    """Let moto register an empty fleet, which validates the request and answers a DryRun."""
    kept = ("Action", "Version", "Type", "DryRun", "TagSpecification")
    params = {name: value for name, value in request.params.items() if name.partition(".")[0] in kept}
    return moto(replace(request, params=params | {"TargetCapacitySpecification.TotalTargetCapacity": "0"}))


def _targets(asked: dict[str, str]) -> dict[bool, int]:
    """Return the target capacity on the spot market (True) and on demand (False)."""
    spot, on_demand = int(asked.get("SpotTargetCapacity", 0)), int(asked.get("OnDemandTargetCapacity", 0))
    rest = int(asked["TotalTargetCapacity"]) - spot - on_demand
    if asked.get("DefaultTargetCapacityType") == "spot":
        return {True: spot + rest, False: on_demand}
    return {True: spot, False: on_demand + rest}


def _choices(request: Request, asked: dict[str, Any], templates: Templates, spot: bool, faults: Faults) -> list[Choice]:
    choices = []
    for config in items(asked.get("LaunchTemplateConfigs")):
        template = templates.find(request.region, config.get("LaunchTemplateSpecification", {}))
        overrides = items(config.get("Overrides")) or [{}]
        choices += [_choose(request, template, one, spot, faults) for one in overrides if template]
    return choices


def _choose(request: Request, template: Template, override: dict[str, str], spot: bool, faults: Faults) -> Choice:
    params = {"Action": "RunInstances", "Version": request.params["Version"], **template.data}
    params |= {name: override[name] for name in ("InstanceType", "ImageId") if name in override}
    zone = override.get("AvailabilityZone", "")
    subnet = override.get("SubnetId") or (zone and moto_state.default_subnet(request.region, zone))
    if subnet:
        inside = any(name.startswith("NetworkInterface.") for name in params)
        params["NetworkInterface.1.SubnetId" if inside else "SubnetId"] = subnet
        zone = moto_state.zone_of(request.region, subnet)
    if spot:
        params[MARKET] = "spot"
    reserved, kind = params.get(RESERVATION, ""), params.get("InstanceType", "")
    pool = Pool(request.region, kind, zone, spot, reserved, params.get(MARKET, ""))
    return Choice(template, override, params, pool, _find_price(pool, faults))


def _find_price(pool: Pool, faults: Faults) -> float:
    if pool.spot:
        known = spot_prices.spot_usd(pool.instance_type, pool.zone or f"{pool.region}a", faults)
    else:
        known = prices.on_demand_usd(pool.instance_type, pool.region)
    return math.inf if known is None else known


def _pick(choices: list[Choice], options: dict[str, str], target: float, fleet: Fleet) -> list[Choice]:
    """Return the choices in the order to try; if they must stay together, those of one group.

    If a fleet must stay within one type or zone, AWS launches nothing unless that group has the minimum capacity.
    """
    by_priority = options.get("AllocationStrategy") in BY_PRIORITY
    ordered = sorted(
        choices, key=lambda one: float(one.override.get("Priority", math.inf)) if by_priority else one.price_usd
    )
    one_type, one_zone = (options.get(f"Single{kind}") == "true" for kind in ("InstanceType", "AvailabilityZone"))

    def group(choice: Choice) -> tuple[str, str]:
        return choice.pool.instance_type * one_type, choice.pool.zone * one_zone

    if not (one_type or one_zone):
        return ordered
    groups: dict[tuple[str, str], list[Choice]] = {}
    for choice in ordered[:POOLS_TRIED]:
        groups.setdefault(group(choice), []).append(choice)
    minimum = float(options.get("MinTargetCapacity", 0))
    able = [found for found in groups.values() if _room(found, target, fleet) >= max(minimum, 1)]
    best = max(able, key=lambda found: _room(found, target, fleet) >= target, default=None)
    if best is None and minimum:
        fleet.errors += [_refuse(choice, target, fleet) for choice in ordered[:POOLS_TRIED]]
        fleet.errors += [
            choice.show(errorCode=UNFULFILLABLE[0], errorMessage=UNFULFILLABLE[1]) for choice in ordered[POOLS_TRIED:]
        ]
        return []
    return best if best is not None else ordered


def _room(choices: list[Choice], target: float, fleet: Fleet) -> float:
    rooms = [
        (choice, fleet.capacity.find_room(choice.pool, math.ceil(target / choice.weight))[0]) for choice in choices
    ]
    return sum(choice.weight * room for choice, room in rooms)


def _refuse(choice: Choice, target: float, fleet: Fleet) -> dict[str, Tree]:
    _, refusal = fleet.capacity.find_room(choice.pool, math.ceil(target / choice.weight))
    code, message = (
        fleet.capacity.find_bar(choice.template.template_id, fleet.id, choice.pool) or refusal or UNFULFILLABLE
    )
    return choice.show(errorCode=code, errorMessage=message)


def _price_refusal(choice: Choice) -> Refusal | None:
    most = choice.override.get("MaxPrice") or choice.params.get("InstanceMarketOptions.SpotOptions.MaxPrice")
    if not choice.pool.spot or not most or float(most) >= choice.price_usd:
        return None
    return "SpotMaxPriceTooLow", (
        f"Your Spot request price of {most} is lower than the minimum required Spot request fulfillment price of"
        f" {choice.price_usd:.4f}."
    )


def _read_refusal(answer: Answer) -> Refusal | None:
    found = _ERROR.search(answer.body.decode()) if answer.status != 200 else None
    return (unescape(found[1]), unescape(found[2])) if found else None
