"""Store launch templates completely, so that fleets launch with every parameter; moto loses some."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer
from infra.local.cloud.request import Request
from infra.local.cloud.tokens import Tokens

DATA = "LaunchTemplateData."

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
            self._data[request.region, found[1].decode(), int(version[1]) if version else 1] = data
        return answer
