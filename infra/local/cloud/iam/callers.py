"""The local cloud's caller and its policy; by default moto's user, who may do anything."""

import itertools
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from infra.local.cloud.answers import Answer
from infra.local.cloud.faults import Faults
from infra.local.cloud.iam import permissions, policies, roles
from infra.local.cloud.request import Request

ACCOUNT = "123456789012"
ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/gpujob"
INVENTED = "botocore-session-1700000000"
TIME = re.compile(r"\d{10,19}$")
SPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass(frozen=True)
class Caller:
    """A user or a role session."""

    arn: str
    user_id: str
    policy: dict[str, Any] | None = None
    """What the caller is allowed to do; None for everything."""

    def log_in(self, at: int) -> "Caller":
        """Return the caller at a later login, whose session has a new name if that ends in a time."""

        def rename(name: str) -> str:
            return TIME.sub(lambda old: str(at).ljust(len(old[0]), "7"), name)

        return replace(self, arn=rename(self.arn), user_id=rename(self.user_id))

    @property
    def variables(self) -> dict[str, str]:
        """The variables that a policy's conditions can use."""
        return {"aws:userid": self.user_id, "aws:PrincipalAccount": ACCOUNT}


@dataclass
class Callers:
    """The caller of all following calls."""

    faults: Faults
    roles: roles.Roles
    caller: Caller | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(int(time.time())))

    def find_denied(self, request: Request) -> permissions.Need | None:
        """Return the first need of a call that the caller's policy does not allow; None if all are."""
        session = self.roles.find(request.access_key)
        if session:
            held = list(roles.read_policies(session))
            return next((one for one in permissions.needs_of(request) if not is_allowed_to(session, held, one)), None)
        if self.caller is None or self.caller.policy is None:
            return None
        needs = permissions.needs_of(request)
        variables = self.caller.variables
        denied = [need for need in needs if not policies.is_allowed(self.caller.policy, need, variables)]
        return denied[0] if denied else None

    def name_caller(self, request: Request) -> str:
        """Return the ARN in the refusal of a call."""
        session = self.roles.find(request.access_key)
        return session.arn if session else permissions.CALLER

    def get_caller_identity(self, request: Request) -> Answer | None:
        """Answer STS's GetCallerIdentity; None for moto's default user."""
        session = self.roles.find(request.access_key)
        if session:
            return show_caller(Caller(session.arn, f"{session.role.id}:{session.instance_id}"))
        caller = (
            Caller(f"{ROLE}/{INVENTED}", f"AROALOCAL:{INVENTED}")
            if self.faults.value("sessions") is not None
            else self.caller
        )
        if (
            caller and ":assumed-role/" in caller.arn
        ):  # a program that names a session by the time does so for each login
            caller = caller.log_in(next(self._numbers))
        return show_caller(caller) if caller else None


def is_allowed_to(session: roles.Session, held: list[Mapping[str, Any]], need: permissions.Need) -> bool:
    """Return whether the policies of a machine's role allow what a call needs."""
    variables = {"aws:userid": f"{session.role.id}:{session.instance_id}", "aws:PrincipalAccount": ACCOUNT}
    return policies.is_allowed({"Statement": [each for one in held for each in one["Statement"]]}, need, variables)


def show_caller(caller: Caller) -> Answer:
    """Return STS's answer about a caller."""
    told = f"<Arn>{caller.arn}</Arn><UserId>{caller.user_id}</UserId><Account>{ACCOUNT}</Account>"
    name, meta = "GetCallerIdentity", f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
    body = f'<{name}Response xmlns="{SPACE}"><{name}Result>{told}</{name}Result>{meta}</{name}Response>'
    return Answer(200, "text/xml", body.encode())
