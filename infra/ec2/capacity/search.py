"""Find capacity: a fleet's answer covers a few pools, so request the others until all answer."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infra.base.waiting import wait_until
from infra.ec2.account import Account
from infra.ec2.capacity.requests import OVERRIDES, Pool, ask_for, nodes_of, refused_pools
from infra.ec2.denials import decode_denial
from infra.ec2.errors import aws_errors, classify
from infra.ec2.machines.instances import terminate
from infra.ec2.machines.network import SETTLING_S
from infra.errors import (
    CapacityError,
    CloudError,
    GpujobError,
    NotFoundError,
    PermissionsError,
    PlaceError,
    QuotaError,
    ThrottledError,
)

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CreateFleetResultTypeDef

Request = dict[str, Any]
Record = Callable[[Request], None]
UNANSWERED = "UnfulfillableCapacity"
"""EC2's code for a pool that it has not tried, or that cannot be part of the fleet."""
POOLS_TRIED = 3
"""How many pools EC2 tries for one request. Single source: six pools gave three codes and three `UNANSWERED`."""
OF_ONE_POOL = (CapacityError, QuotaError)


@dataclass
class Search:
    """The pools that have not answered yet, and what the others answered."""

    left: list[Pool]
    errors: dict[Pool, GpujobError] = field(default_factory=dict)
    blind: bool = False
    """Whether an answer did not say which pools EC2 had tried."""

    @property
    def next(self) -> list[Pool]:
        """The pools to request next: after an uninformative answer, few enough for EC2 to try all."""
        return self.left[: POOLS_TRIED if self.blind else OVERRIDES]

    def learn(self, answer: "CreateFleetResultTypeDef", asked: Collection[Pool]) -> None:
        """Keep what each pool answered; raises an error that would be the same for all others."""
        for entry in answer["Errors"]:
            code = entry["ErrorCode"]
            error = classify(code, entry["ErrorMessage"], "CreateFleet")
            if not isinstance(error, OF_ONE_POOL) and type(error) is not CloudError:
                raise error
            if code != UNANSWERED or len(asked) <= POOLS_TRIED:
                self.errors |= dict.fromkeys(refused_pools(entry, asked), error)
        if len(asked) <= POOLS_TRIED:
            silence = CapacityError(f"EC2 did not say why ({UNANSWERED})")
            self.errors = dict.fromkeys(asked, silence) | self.errors
        left = [pool for pool in self.left if pool not in self.errors]
        self.blind = self.blind or len(left) == len(self.left)
        self.left = left


def find(
    account: Account, request: Request, pools: Sequence[Pool], record: Record, report: Callable[[str], None]
) -> list[str]:
    """Launch the nodes of a request from the first pools that have them; return the ids of the instances.

    `record` is called with each request before it is sent. Raises CapacityError once every pool has refused, or the error that
    says more.
    """
    search, nodes = Search(list(pools)), nodes_of(request)
    while search.left:
        asked = search.next
        answer = ask_settled(account, lambda pools=asked: ask_for(request, pools), record)  # type: ignore[misc]
        found = instances_of(answer)
        if len(found) >= nodes:
            return found
        if found:
            terminate(account, found)
            raise explain(account, search, len(found), nodes)
        try:
            search.learn(answer, asked)
        except PermissionsError as error:
            raise decode_denial(account, error) from error
        if search.left:
            report(f"{len(search.errors)} of {len(pools)} combinations of type and zone refused; trying the rest")
    raise explain(account, search, 0, nodes)


def repeat(account: Account, request: Request) -> list[str]:
    """Repeat a request whose answer a crash may have lost; return the ids of its instances.

    EC2 launches nothing twice for the same request.
    """
    try:
        found = instances_of(send(account, request))
    except NotFoundError:  # its template no longer exists, so it launched nothing or that was removed
        return []
    if 0 < len(found) < nodes_of(request):
        terminate(account, found)
        return []
    return found


def ask_settled(account: Account, make: Callable[[], Request], record: Record) -> "CreateFleetResultTypeDef":
    """Return EC2's answer to a request, repeated while EC2 does not know its security group everywhere.

    https://github.com/boto/boto3/issues/620
    """

    def ask() -> "CreateFleetResultTypeDef":
        request = make()
        record(request)
        answer = send(account, request)
        errors = [classify(entry["ErrorCode"], entry["ErrorMessage"], "CreateFleet") for entry in answer["Errors"]]
        passing = next((error for error in errors if isinstance(error, (NotFoundError, ThrottledError))), None)
        if passing and not answer["Instances"]:
            raise passing
        return answer

    answer = wait_until(ask, SETTLING_S, retry_on=(NotFoundError, ThrottledError))
    assert answer is not None  # noqa: S101  ask returns or raises
    return answer


def send(account: Account, request: Request) -> "CreateFleetResultTypeDef":
    """Send a request for a fleet; return EC2's answer, which may have no instances."""
    try:
        with aws_errors():
            return account.ec2.create_fleet(**request)
    except PermissionsError as error:
        raise decode_denial(account, error) from error


def instances_of(answer: "CreateFleetResultTypeDef") -> list[str]:
    """Return the ids of the instances that a fleet launched."""
    return [one for entry in answer["Instances"] for one in entry["InstanceIds"]]


def explain(account: Account, search: Search, found: int, nodes: int) -> GpujobError:
    """Return why there are too few machines; other refusals than missing capacity come first."""
    errors = sorted(search.errors.values(), key=lambda error: isinstance(error, PlaceError))
    telling = next((error for error in errors if not isinstance(error, CapacityError)), None)
    if telling:
        return telling
    said = f": {errors[0].what}" if errors else ""
    had = f"only {found} of {nodes} machines are" if found else "no machine of this type is"
    kind = PlaceError if errors and isinstance(errors[0], PlaceError) else CapacityError
    return kind(
        f"{had} available in {account.region}{said}", "try --spot-first, another --gpu, or several --region options"
    )
