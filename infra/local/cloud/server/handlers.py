"""The actions missing from moto, by service; anything else is passed on unchanged."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from infra.local.cloud import moto_state, tagging
from infra.local.cloud.answers import Answer, error
from infra.local.cloud.faults import Faults
from infra.local.cloud.iam import permissions, simulation
from infra.local.cloud.iam.callers import Callers
from infra.local.cloud.iam.roles import Roles
from infra.local.cloud.machines import console, fleet, foreign, images, imaging, launch
from infra.local.cloud.machines.capacity import Capacity, Pool
from infra.local.cloud.machines.hosts import Hosts
from infra.local.cloud.machines.metadata import Metadata
from infra.local.cloud.machines.templates import Templates
from infra.local.cloud.market import offerings, prices, quotas, spot
from infra.local.cloud.market.reservations import Reservations
from infra.local.cloud.request import Request
from infra.local.cloud.scaling.reconciler import Reconciler
from infra.local.cloud.server import attributes, scaling
from infra.local.cloud.server.trail import Trail
from infra.local.cloud.tokens import Tokens

Moto = Callable[[Request], Answer]
"""Passes a request, possibly modified, to moto."""

TypesQuestion = tuple[str, frozenset[tuple[str, str]]]

# The catalogue never changes while the process runs, and serializing it takes moto seconds.
TYPES: dict[TypesQuestion, Answer] = {}
TYPES_LOCK = threading.Lock()


@dataclass(frozen=True)
class Handlers:
    """The answers missing from moto, and the one that it gives too slowly."""

    hosts: Hosts
    faults: Faults
    trail: Trail = field(default_factory=Trail)
    _templates: Templates = field(default_factory=Templates)
    _tokens: Tokens = field(default_factory=Tokens)

    @cached_property
    def callers(self) -> Callers:
        """The caller."""
        return Callers(self.faults, self.roles)

    @cached_property
    def roles(self) -> Roles:
        """The credentials of machines."""
        return Roles(self.faults)

    @cached_property
    def metadata(self) -> Metadata:
        """The metadata service for hosts."""
        return Metadata(self.hosts.boots, self.roles)

    @cached_property
    def _capacity(self) -> Capacity:
        return Capacity(self.faults, self._reservations)

    @cached_property
    def _reservations(self) -> Reservations:
        return Reservations(self.faults, self.hosts.boots.end_at)

    @cached_property
    def _launcher(self) -> scaling.Launcher:
        return scaling.Launcher(self._capacity, self._templates)

    def make_reconciler(self, moto: Moto) -> Reconciler:
        """Return what keeps the Auto Scaling groups' machines, with AWS's own permissions."""
        launching = partial(self._launcher.launch, self._booting(moto))
        return Reconciler(self.faults, launching, partial(scaling.terminate, moto), self.hosts.is_dead)

    def sight(self, request: Request) -> AbstractContextManager[None]:
        """Hide instances that are not visible yet from moto while it answers."""
        unseen = self.hosts.boots.unseen() if request.action.startswith("Describe") else frozenset()
        return moto_state.hidden(request.region, unseen) if unseen else nullcontext()

    def answer(self, request: Request, moto: Moto) -> Answer | None:
        """Answer a request; None to pass it on to moto."""
        self.trail.record(request)
        if request.service == "ec2":
            return self._refuse(request) or self._answer_ec2(request, moto)
        if request.service == "autoscaling":
            return scaling.answer(request, self._launcher, self._find_denial)
        match request.service, request.action:
            case "pricing", "GetProducts":
                return prices.get_products(request)
            case "servicequotas", "GetServiceQuota":
                return quotas.get_service_quota(request, self.faults)
            case "ssm", "GetParameter":
                return images.get_parameter(request, self.faults)
            case "ssm", "GetParameters":
                return images.get_parameters(request, moto, self.faults)
            case "iam", "SimulatePrincipalPolicy":
                return simulation.simulate_principal_policy(request)
            case "sts", "GetCallerIdentity":
                return self.callers.get_caller_identity(request)
            case "sts", "DecodeAuthorizationMessage":
                return permissions.decode_authorization_message(request)
        return None

    def _answer_ec2(self, request: Request, moto: Moto) -> Answer | None:
        instance_id = request.params.get("InstanceId", "")
        match request.action:
            case "DescribeSpotPriceHistory":
                return spot.describe_spot_price_history(request, self.faults)
            case "GetSpotPlacementScores":
                return spot.get_spot_placement_scores(request, self.faults)
            case "GetConsoleOutput":
                speaks = self.hosts.boots.speaks(instance_id)
                return console.get_console_output(request, self.hosts.host_key(instance_id) if speaks else None)
            case "StartInstances":
                return self._start(request, moto)
            case "RunInstances":
                return launch.run_instances(request, self._booting(moto), self._tokens, self._capacity)
            case "CreateLaunchTemplate" | "CreateLaunchTemplateVersion":
                return self._templates.create(request, moto, self._tokens)
            case "ModifyInstanceAttribute":
                return attributes.modify_instance_attribute(request, moto)
            case "CreateFleet":
                work = fleet.create_fleet
                able = self._launching(moto)
                return self._tokens.once(request, lambda: work(request, able, self._templates, self._capacity))
            case "CreateImage":
                return imaging.create_image(request, moto, self.hosts.image)
            case "DescribeInstanceTypeOfferings":
                return offerings.describe_instance_type_offerings(request)
            case "DescribeInstanceTypes":
                return self._instance_types(request, moto)
            case "DescribeRegions" if enabled := self.faults.values("enabled"):
                names = {f"RegionName.{number}": name for number, name in enumerate(enabled, 1)}
                return moto(replace(request, params={**request.params, **names}))
            case "DescribeInstances":
                others = self.faults.value("foreign")
                described = self._among_others(request, moto, int(others)) if others else self._described(request, moto)
                return self._reservations.name_in(described)
        return self._reservations.answer(request)

    def _refuse(self, request: Request) -> Answer | None:
        """Answer a DryRun call, and one with invalid tags or about an instance that is not visible yet."""
        refused = tagging.refuse(request)
        if refused:
            return refused
        if request.params.get("DryRun") == "true":
            return error("ec2", "DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        names = {value for name, value in request.params.items() if name.startswith(("InstanceId", "ResourceId"))}
        unseen = sorted(names & self.hosts.boots.unseen())
        if unseen:
            message = f"The instance ID '{', '.join(unseen)}' does not exist"
            return error("ec2", "InvalidInstanceID.NotFound", message)
        return None

    def _launching(self, moto: Moto) -> Moto:
        """Wrap moto for a fleet, whose launches need the caller's permissions too."""
        boot = self._booting(moto)

        def hand(request: Request) -> Answer:
            if request.action != "RunInstances":
                return moto(request)
            need = self._find_need(request)
            return permissions.deny(request, need) if need else boot(request)

        return hand

    def _find_need(self, request: Request) -> permissions.Need | None:
        """Return what the caller may not do, of what AWS does on the caller's behalf; None if all is allowed."""
        self.trail.record(request, inner=True)
        denied = set(permissions.actions_of(request)) & set(self.faults.values("denied"))
        return permissions.need_of(request, min(denied)) if denied else self.callers.find_denied(request)

    def _find_denial(self, request: Request) -> str:
        need = self._find_need(request)
        return permissions.refusal(need)[1] if need else ""

    def _booting(self, moto: Moto) -> Moto:
        """Wrap moto for a launch, so that the instances boot with the injected delay."""

        def hand(request: Request) -> Answer:
            with moto_state.LOCK:
                answer = moto(request)
                if request.action == "RunInstances":
                    self._begin(request.region, launch.instance_ids(answer))
            return answer

        return hand

    def _start(self, request: Request, moto: Moto) -> Answer:
        ids = request.values("InstanceId")
        self.hosts.settle(ids)
        with moto_state.LOCK:
            found = filter(None, [moto_state.find_instance(request.region, one) for one in ids])
            stopped = [instance for instance in found if instance.state == "stopped"]
            pools = [self._pool_of(request.region, one) for one in stopped]
            refusal = next(filter(None, [self._capacity.find_room(pool, 1)[1] for pool in pools]), None)
            if refusal:
                return error("ec2", *refusal, 500)
            answer = moto(request)
            if answer.status == 200:
                moto_state.relaunch(stopped)
                self._begin(request.region, tuple(ids))
        return answer

    def _pool_of(self, region: str, instance: Any) -> Pool:
        key, market = self._reservations.key_of(instance.id), instance.lifecycle or ""
        return Pool(region, instance.instance_type, instance.placement.zone, False, key, market)

    def _begin(self, region: str, ids: tuple[str, ...]) -> None:
        for instance in filter(None, [moto_state.find_instance(region, one) for one in ids]):
            self.hosts.boots.begin(instance)

    def _among_others(self, request: Request, moto: Moto, count: int) -> Answer:
        page = foreign.page_of_others(request, count)
        if page is not None:
            return page
        with moto_state.LOCK, self.sight(request):
            return moto(foreign.after_others(request))

    def _described(self, request: Request, moto: Moto) -> Answer:
        with moto_state.LOCK, self.sight(request):
            return moto(request)

    def _instance_types(self, request: Request, moto: Moto) -> Answer:
        question = (request.region, frozenset(request.params.items()))
        with TYPES_LOCK:
            if question not in TYPES:
                answer = moto(request)
                if answer.status != 200:
                    return answer
                TYPES[question] = answer
            return TYPES[question]
