"""RunInstances within capacity and quota, with all tags, and once per client token."""

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

from infra.local.cloud import accounts, moto_state
from infra.local.cloud.answers import EC2_NAMESPACE, Answer, error
from infra.local.cloud.faults import Faults
from infra.local.cloud.machines.capacity import Capacity, Pool
from infra.local.cloud.request import Request
from infra.local.cloud.tokens import Tokens

Moto = Callable[[Request], Answer]

MARKET = "InstanceMarketOptions.MarketType"
RESERVATION = "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId"
_ID = re.compile(rb"<instanceId>(i-[0-9a-f]+)</instanceId>")


def run_instances(request: Request, moto: Moto, tokens: Tokens, capacity: Capacity) -> Answer:
    """Launch all requested instances or none; for a known token, return those launched before."""

    def work() -> Answer:
        wanted = int(request.params.get("MinCount") or 1)
        with moto_state.LOCK:
            pool = pool_of(request)
            room, refusal = capacity.find_room(pool, wanted)
            if room < wanted and refusal:
                return error("ec2", *refusal)
            answer = launch(request, moto, capacity.faults)
            capacity.enter(pool, instance_ids(answer))
            return answer

    return tokens.once(request, work, lambda first: _describe(instance_ids(first), request, moto))


def launch(request: Request, moto: Moto, faults: Faults) -> Answer:
    """Launch without checking capacity."""
    with moto_state.LOCK:
        answer = accounts.refuse_profile(request, faults) or moto(request)
        for instance_id in instance_ids(answer):
            instance = moto_state.find_instance(request.region, instance_id)
            accounts.give_profile(request, instance)
            if not accounts.has_key(request):
                moto_state.end(instance, "Client.InternalError", "Client error on launch")
            moto_state.finish_launch(request.region, instance_id, request.tags_for("network-interface"))
    return answer


def pool_of(request: Request) -> Pool:
    """Return the pool of a RunInstances request; without a zone AWS chooses one, so the zone is empty."""
    subnet = request.params.get("NetworkInterface.1.SubnetId") or request.params.get("SubnetId", "")
    zone = moto_state.zone_of(request.region, subnet) or request.params.get("Placement.AvailabilityZone", "")
    market = request.params.get(MARKET, "")
    kind = request.params.get("InstanceType", "m1.small")
    return Pool(request.region, kind, zone, market == "spot", request.params.get(RESERVATION, ""), market)


def instance_ids(answer: Answer) -> tuple[str, ...]:
    """Return the instance ids in an answer to RunInstances."""
    return tuple(found.decode() for found in _ID.findall(answer.body))


def _describe(ids: tuple[str, ...], request: Request, moto: Moto) -> Answer:
    """Turn a DescribeInstances answer about the launched instances into RunInstances' answer."""
    numbered = {f"InstanceId.{n}": one for n, one in enumerate(ids, 1)}
    params = {"Action": "DescribeInstances", "Version": request.params.get("Version", "2016-11-15"), **numbered}
    answer = moto(replace(request, action="DescribeInstances", params=params))
    if answer.status != 200:
        return answer
    ElementTree.register_namespace("", EC2_NAMESPACE)
    described = ElementTree.fromstring(answer.body)  # noqa: S314 - moto's own
    space = {"e": described.tag[1:].partition("}")[0]} if described.tag.startswith("{") else {"e": ""}
    reservation = described.find("e:reservationSet/e:item", space)
    result = ElementTree.Element(described.tag.replace("DescribeInstances", "RunInstances"))
    result.extend(list(reservation) if reservation is not None else [])
    return Answer(200, answer.content_type, ElementTree.tostring(result))
