"""Store launch templates completely, so that fleets launch with every parameter; moto loses some."""

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, error
from infra.local.cloud.request import Request
from infra.local.cloud.tokens import Tokens

DATA = "LaunchTemplateData."
MOST_BYTES = 16_384
"""Of user data."""

_ID = re.compile(rb"<launchTemplateId>(lt-[0-9a-f]+)</launchTemplateId>")
_VERSION = re.compile(rb"<versionNumber>(\d+)</versionNumber>")


@dataclass(frozen=True)
class Template:
    """One version of a launch template, whose data are parameters of RunInstances."""

    template_id: str
    version: int
    data: dict[str, str]


@dataclass(frozen=True)
class Templates:
    """The data of each template version, by region."""

    _data: dict[tuple[str, str, int], dict[str, str]] = field(default_factory=dict)

    def create(self, request: Request, moto: Callable[[Request], Answer], tokens: Tokens) -> Answer:
        """Answer CreateLaunchTemplate and CreateLaunchTemplateVersion, once per client token."""
        if len(b64decode(request.params.get(f"{DATA}UserData", ""))) > MOST_BYTES:
            return error("ec2", "InvalidUserData.Malformed", f"User data is limited to {MOST_BYTES} bytes.")
        return tokens.once(request, lambda: self._create(request, moto))

    def find(self, region: str, asked: dict[str, str]) -> Template | None:
        """Return the template that a LaunchTemplateSpecification names; None if it does not exist."""
        known = moto_state.find_template(region, asked.get("LaunchTemplateId"), asked.get("LaunchTemplateName"))
        if known is None:
            return None
        numbers = {"$Latest": known.latest_version_number, "$Default": known.default_version_number}
        words = asked.get("Version") or "$Default"
        version = int(numbers.get(words, words))
        data = self._data.get((region, known.id, version))
        return None if data is None else Template(known.id, version, data)

    def _create(self, request: Request, moto: Callable[[Request], Answer]) -> Answer:
        answer = moto(request)
        found, version = _ID.search(answer.body), _VERSION.search(answer.body)
        if answer.status == 200 and found:
            data = {n.removeprefix(DATA): v for n, v in request.params.items() if n.startswith(DATA)}
            key = found[1].decode()
            inherited = self._inherited(request, key, {name.partition(".")[0] for name in data})
            describe(moto_state.find_template(request.region, key, None), request.params.get("SourceVersion"))
            self._data[request.region, key, int(version[1]) if version else 1] = inherited | data
        return answer

    def _inherited(self, request: Request, template_id: str, replaced: set[str]) -> dict[str, str]:
        """Return what a new version takes from its source, if it names one: all but what it replaces."""
        source = request.params.get("SourceVersion")
        found = self.find(request.region, {"LaunchTemplateId": template_id, "Version": source}) if source else None
        data = found.data if found else {}
        return {name: value for name, value in data.items() if name.partition(".")[0] not in replaced}


def describe(known: Any, source: str | None) -> None:
    """Let moto describe the newest version as EC2 does: with what it inherits, and its state.

    No request may have the state:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LaunchTemplateInstanceMetadataOptions.html
    """
    newest = known.latest_version()
    newest.data = {**(known.get_version(source).data if source else {}), **newest.data}
    if "MetadataOptions" in newest.data:
        newest.data["MetadataOptions"] = {**newest.data["MetadataOptions"], "State": "applied"}
