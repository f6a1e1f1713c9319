"""Build answers in AWS's formats, so that boto3 parses them like AWS's."""

import json
import uuid
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

EC2_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"

# What lists and dicts are serialized from: every list element becomes one <item>.
Tree = str | int | float | bool | dict[str, Any] | list[Any]


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    content_type: str
    body: bytes


def json_answer(content: dict[str, Any]) -> Answer:
    """Answer like the JSON services."""
    return Answer(200, "application/x-amz-json-1.1", json.dumps(content).encode())


def ec2_answer(action: str, content: dict[str, Tree]) -> Answer:
    """Answer like EC2."""
    inner = make_xml({"requestId": str(uuid.uuid4()), **content})
    return Answer(200, "text/xml", f'<{action}Response xmlns="{EC2_NAMESPACE}">{inner}</{action}Response>'.encode())


def text_answer(text: str, status: int = 200) -> Answer:
    """Answer in plain text."""
    return Answer(status, "text/plain", text.encode())


def error(service: str, code: str, message: str, status: int = 400) -> Answer:
    """Return an error in the format that the service's clients turn into a ClientError with this code."""
    name, words = escape(code), escape(message)
    if service == "ec2":
        fault = f"<Errors><Error><Code>{name}</Code><Message>{words}</Message></Error></Errors>"
        return Answer(status, "text/xml", f"<Response>{fault}<RequestID>{uuid.uuid4()}</RequestID></Response>".encode())
    if service in ("sts", "iam", "autoscaling", "elasticloadbalancing", "cloudformation"):
        fault = f"<Error><Type>Sender</Type><Code>{name}</Code><Message>{words}</Message></Error>"
        return Answer(status, "text/xml", f"<ErrorResponse>{fault}</ErrorResponse>".encode())
    if service == "s3":
        return Answer(
            status, "application/xml", f"<Error><Code>{name}</Code><Message>{words}</Message></Error>".encode()
        )
    body = {"__type": code, "message": message}
    return Answer(status, "application/x-amz-json-1.1", json.dumps(body).encode())


def make_xml(tree: Tree, item: str = "item") -> str:
    """Return a tree as XML; every list element becomes one `item`."""
    if isinstance(tree, dict):
        return "".join(f"<{name}>{make_xml(value, item)}</{name}>" for name, value in tree.items())
    if isinstance(tree, list):
        return "".join(f"<{item}>{make_xml(value, item)}</{item}>" for value in tree)
    if isinstance(tree, bool):
        return str(tree).lower()
    return escape(str(tree))
