"""Parse a request to the local cloud: service, region, action and parameters."""

import io
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

Environ = dict[str, Any]

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([\w-]+)/([\w.-]+)/aws4_request")


@dataclass(frozen=True)
class Request:
    """The content of one signed request."""

    access_key: str
    region: str
    service: str
    action: str
    params: dict[str, str] = field(default_factory=dict)
    """For services with the query protocol, such as EC2."""
    body: dict[str, Any] = field(default_factory=dict)
    """For JSON services, such as SSM."""

    def values(self, prefix: str) -> list[str]:
        """List the values of a numbered parameter: `Prefix.1`, `Prefix.2` and so on."""
        pattern = re.compile(re.escape(prefix) + r"\.\d+$")
        return [value for name, value in self.params.items() if pattern.match(name)]

    def filters(self) -> dict[str, list[str]]:
        """Map each EC2 filter's name to its values."""
        numbers = [name.split(".")[1] for name in self.params if re.fullmatch(r"Filter\.\d+\.Name", name)]
        return {self.params[f"Filter.{n}.Name"]: self.values(f"Filter.{n}.Value") for n in numbers}

    def without(self, name: str) -> "Request":
        """Return the same request without a parameter."""
        return replace(self, params={one: value for one, value in self.params.items() if one != name})

    def tags_for(self, kind: str) -> dict[str, str]:
        """Return the tags that a request puts on the resources of a kind, such as `volume`."""
        return {
            tag["Key"]: tag.get("Value", "")
            for one in items(self.tree().get("TagSpecification"))
            if one.get("ResourceType") == kind
            for tag in items(one.get("Tag"))
        }

    def tree(self) -> dict[str, Any]:
        """Return the parameters as a tree: `A.1.B` is B in 1 in A."""
        root: dict[str, Any] = {}
        for name, value in self.params.items():
            *above, last = name.split(".")
            node = root
            for part in above:
                node = node.setdefault(part, {})
            node[last] = value
        return root


def items(node: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the numbered elements of a part of a request's tree, in order."""
    return [value for _, value in sorted((node or {}).items(), key=lambda item: int(item[0]))]


def read(environ: Environ) -> Request | None:
    """Parse a WSGI request, leaving its body readable; None without credentials."""
    found = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    if not found:
        return None
    key, region, service = found.groups()
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return Request(key, region, service, target.rpartition(".")[2], body=_json(read_body(environ)))
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        params = dict(parse_qsl(read_body(environ).decode(), keep_blank_values=True))
        return Request(key, region, service, params.get("Action", ""), params=params)
    return Request(key, region, service, "")


def read_body(environ: Environ) -> bytes:
    """Read the body and put it back."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body: bytes = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def with_body(environ: Environ, body: bytes) -> Environ:
    """Copy a request with a different body."""
    return {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
