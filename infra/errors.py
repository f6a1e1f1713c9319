"""What can go wrong, as a person can act on it.

GpujobError               one line of what happened, one of what to type next; exit 1 (any other exception is a bug; exit 3)
├── UsageError            the words typed do not fit; exit 2
├── CloudError            AWS or the local cloud said no
│   ├── CredentialsError  no credentials, or AWS does not accept them
│   ├── PermissionsError  the credentials may not do this
│   ├── QuotaError        the account's quota is too small
│   ├── CapacityError     no machine of this kind is free
│   ├── ThrottledError    too many calls; AWS asks to slow down
│   ├── ParameterError    AWS does not take what was asked for
│   └── SubscriptionError something must be accepted or switched on in the account first
├── NotFoundError         no cluster, job or file of this name
├── NodeError             the node could not be reached, or gave an invalid answer
│   ├── StoppedError      the node is switched off
│   └── HostKeyError      the node showed another host key than the one pinned
├── SetupError            the playbook did not get to its end on every node
├── ProjectError          the project folder cannot be carried
└── LossError             going on would lose a job or its outputs
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One word of the typed command that, if changed, would let it succeed."""

    word: str
    """An option, or an argument as it was typed."""
    value: str = ""
    """The option's value, or the word to type instead; an option that takes none has none."""
    instead: tuple[str, ...] = ()
    """Options without a value that it replaces."""


class GpujobError(Exception):
    """Something the person can act on: what happened, and what to type next."""

    exit_code = 1

    def __init__(self, what: str, hint: str = "", change: Change | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.change = change


class UsageError(GpujobError):
    """The words typed do not fit."""

    exit_code = 2


class CloudError(GpujobError):
    """AWS or the local cloud said no."""


class CredentialsError(CloudError):
    """No credentials, or AWS does not accept them."""


class PermissionsError(CloudError):
    """The credentials may not do this; `encoded` is AWS's own explanation, if it gave one, which STS can decode."""

    encoded = ""


class QuotaError(CloudError):
    """The account's quota is too small."""


class CapacityError(CloudError):
    """No machine of this kind is free."""


class ThrottledError(CloudError):
    """Too many calls; AWS asks to slow down."""


class ParameterError(CloudError):
    """AWS does not take what was asked for."""


class SubscriptionError(CloudError):
    """Something must be accepted or switched on in the account first."""


class NotFoundError(GpujobError):
    """No cluster, job or file of this name."""


class NodeError(GpujobError):
    """The node could not be reached, or gave an invalid answer."""


class GoneError(NodeError):
    """The node is no more."""


class StoppedError(NodeError):
    """The node is switched off, and can be switched on again."""


class HostKeyError(NodeError):
    """The node showed another host key than the one pinned."""


class SetupError(GpujobError):
    """The playbook did not get to its end on every node; what it did stays done."""


class ProjectError(GpujobError):
    """The project folder cannot be carried."""


class LossError(GpujobError):
    """Going on would lose a job or its outputs."""
