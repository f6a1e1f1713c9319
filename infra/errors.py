"""Errors the user can act on.

GpujobError               one line of what happened, one of what to run next; exit 1 (any other exception is a bug; exit 3)
├── UsageError            invalid command line or settings; exit 2
├── CloudError            AWS or the local cloud refused the call
│   ├── CredentialsError  no credentials, or AWS rejects them
│   ├── PermissionsError  the credentials do not allow this
│   ├── QuotaError        the account's quota is too small
│   ├── CapacityError     no capacity for this instance type
│   │   └── PlaceError    the zone does not offer this instance type at all
│   ├── ThrottledError    too many calls; AWS throttles them
│   ├── ParameterError    AWS rejects a parameter
│   └── SubscriptionError the account must accept terms or enable something first
├── NotFoundError         no such cluster, job or file
├── UnbegunError          no machine has begun a sent job yet
├── NodeError             the node is unreachable or sent an invalid response
│   ├── UnreachableError  neither the node nor its cloud could be reached
│   ├── StoppedError      the node is stopped
│   └── HostKeyError      the node's host key is not the pinned one
├── SetupError            the playbook failed on a node
├── ProjectError          the project folder cannot be uploaded or written
└── LossError             continuing would lose a job or its outputs
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """A change to one argument that would let the command succeed."""

    word: str
    """An option, or an argument as typed."""
    value: str = ""
    """The option's new value, or the argument's replacement; empty for a flag."""
    instead: tuple[str, ...] = ()
    """Flags that it replaces."""


class GpujobError(Exception):
    """An error the user can act on: what happened, and what to run next."""

    exit_code = 1

    def __init__(self, what: str, hint: str = "", change: Change | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.change = change


class UsageError(GpujobError):
    """The command line or a setting is invalid."""

    exit_code = 2


class TakenError(UsageError):
    """A cluster of this name exists."""


class CloudError(GpujobError):
    """AWS or the local cloud refused the call."""


class CredentialsError(CloudError):
    """There are no credentials, or AWS rejects them."""


class PermissionsError(CloudError):
    """The credentials do not allow this; `encoded` is AWS's explanation, if any, which STS can decode."""

    encoded = ""


class QuotaError(CloudError):
    """The account's quota is too small."""


class CapacityError(CloudError):
    """AWS has no capacity for this instance type."""


class PlaceError(CapacityError):
    """The zone or region does not offer this instance type, now or later."""


class ThrottledError(CloudError):
    """AWS throttles the calls."""


class ParameterError(CloudError):
    """AWS rejects a parameter."""


class SubscriptionError(CloudError):
    """The account must accept terms or enable something first."""


class NotFoundError(GpujobError):
    """There is no such cluster, job or file."""


class UnbegunError(GpujobError):
    """No machine has begun a sent job yet."""


class NodeError(GpujobError):
    """The node is unreachable or sent an invalid response."""


class GoneError(NodeError):
    """The node no longer exists."""

    reclaimed = False
    """Whether AWS reclaimed it, as a spot instance."""
    partial = False
    """Whether other nodes of its cluster still exist."""


class UnreachableError(NodeError):
    """Neither the node nor its cloud could be reached, so it may be running."""

    def __init__(self, silence: NodeError, obstacle: CloudError) -> None:
        super().__init__(f"{silence.what}; could not ask AWS either: {obstacle.what}", obstacle.hint)
        self.obstacle = obstacle


class StoppedError(NodeError):
    """The node is stopped and can be started."""


class HostKeyError(NodeError):
    """The node's host key is not the pinned one."""


class SetupError(GpujobError):
    """The playbook failed on a node; completed tasks stay done."""


class ProjectError(GpujobError):
    """The project folder cannot be uploaded or written."""


class LossError(GpujobError):
    """Continuing would lose a job or its outputs."""
