"""The instance metadata service (version 2) for hosts: identity, credentials, spot notices.

On AWS it is at 169.254.169.254; hosts find it through `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, text_answer
from infra.local.cloud.boots import Boots
from infra.local.cloud.iam.roles import Roles
from infra.local.cloud.request import Environ

PREFIX = "/gpujob/metadata/"
ROLES = "iam/security-credentials"


@dataclass(frozen=True)
class Metadata:
    """The metadata available to each instance."""

    boots: Boots
    roles: Roles
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def answer(self, environ: Environ) -> Answer:
        """Answer a request for `PREFIX`INSTANCE/latest/...; version 1, which needs no token, is disabled."""
        instance_id, _, path = str(environ["PATH_INFO"]).removeprefix(PREFIX).partition("/")
        instance = next((one for one in moto_state.instances() if one.id == instance_id), None)
        if instance is None:
            return text_answer("", 404)
        token = hmac.new(self._secret, instance_id.encode(), "sha256").hexdigest()
        if path.strip("/") == "latest/api/token":
            asks = environ["REQUEST_METHOD"] == "PUT" and environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS")
            return text_answer(token) if asks else text_answer("", 400)
        if not hmac.compare_digest(environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN", ""), token):
            return text_answer("", 401)
        found = self._read(instance, path.strip("/"))
        return text_answer("", 404) if found is None else text_answer(found)

    def _read(self, instance: Any, path: str) -> str | None:
        ends = self.boots.interruption(instance.id)
        entries = {
            "instance-id": instance.id,
            "ami-id": instance.image_id,
            "instance-type": instance.instance_type,
            "instance-life-cycle": "spot" if instance.lifecycle == "spot" else "on-demand",
            "placement/availability-zone": instance.availability_zone,
            "placement/region": instance.region_name,
            "spot/instance-action": ends and json.dumps({"action": "terminate", "time": ends}),
            "spot/termination-time": ends,
        }
        if path.startswith(f"latest/meta-data/{ROLES}"):
            session, _, wanted = self.roles.issue(instance), *path.rpartition(ROLES)[1:]
            if session is None or wanted.strip("/") not in ("", session.role.name):
                return None
            return session.show() if wanted.strip("/") else str(session.role.name)
        return entries.get(path.removeprefix("latest/meta-data/")) if path.startswith("latest/meta-data/") else None
