"""The temporary credentials of machines, for the role in the instance profile of their launch.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/iam-roles-for-amazon-ec2.html
"""

import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends

from infra.local.cloud import accounts
from infra.local.cloud.faults import Faults

LIFE_S = 6 * 3600.0
"""How long credentials are valid; the fault `role-expires` makes it shorter."""
EARLY_S = 300.0
"""New ones are there this long before the old ones expire."""


@dataclass(frozen=True)
class Session:
    """A machine's credentials."""

    role: Any
    instance_id: str
    access_key: str
    token: str
    made_at: float
    expires_at: float

    @property
    def arn(self) -> str:
        """The caller that these credentials are of."""
        return f"arn:aws:sts::{self.role.account_id}:assumed-role/{self.role.name}/{self.instance_id}"

    def show(self) -> str:
        """Return them as the metadata service does."""

        def when(at: float) -> str:
            return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

        facts = {"Code": "Success", "LastUpdated": when(self.made_at), "Type": "AWS-HMAC"}
        keys = {"AccessKeyId": self.access_key, "SecretAccessKey": "local", "Token": self.token}
        return json.dumps({**facts, **keys, "Expiration": when(self.expires_at)}, indent=2)


@dataclass(frozen=True)
class Roles:
    """The credentials that were given out, by access key; the last is each machine's own."""

    faults: Faults
    _sessions: dict[str, Session] = field(default_factory=dict)
    _latest: dict[str, Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def issue(self, instance: Any) -> Session | None:
        """Return a machine's credentials, new ones if the old expire soon; None without a role."""
        role = accounts.find_role(instance)
        if role is None:
            return None
        now, life_s = time.time(), self.faults.number("role-expires") or LIFE_S
        with self._lock:
            held = self._latest.get(instance.id)
            if held is None or held.role is not role or held.expires_at - now < min(EARLY_S, life_s / 2):
                key, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(64)
                held = Session(role, instance.id, key, token, now, now + life_s)
                self._sessions[key] = self._latest[instance.id] = held
            return held

    def find(self, access_key: str) -> Session | None:
        """Return the credentials with this key; None for any other."""
        return self._sessions.get(access_key)


def is_proven(session: Session, token: str) -> bool:
    """Return whether a request has the session's token, which belongs to its key."""
    return hmac.compare_digest(session.token, token)


def read_policies(session: Session) -> Iterator[Mapping[str, Any]]:
    """Yield the policies of a machine's role as they are now."""
    yield from list_policies(session.role)


def list_policies(role: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the policies of a role."""
    for text in role.policies.values():
        yield parse(text)
    for managed in role.managed_policies.values():
        yield parse(managed.document)


def parse(document: Any) -> Mapping[str, Any]:
    """Return a policy whose statements are a list, as IAM allows one alone."""
    found = json.loads(document) if isinstance(document, str) else document
    statements = found.get("Statement", [])
    return {**found, "Statement": statements if isinstance(statements, list) else [statements]}


def make_role(name: str, trust: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    """Create a role and an instance profile of the same name."""
    backend = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_role(name, json.dumps(trust), "/", None, "", [], "3600")
    backend.put_role_policy(name, "gpujob", json.dumps(policy))
    backend.create_instance_profile(name, "/", [])
    backend.add_role_to_instance_profile(name, name)
