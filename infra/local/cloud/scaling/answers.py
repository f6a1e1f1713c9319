"""Answers and refusals in Auto Scaling's format."""

import uuid
from datetime import UTC, datetime

from infra.local.cloud.answers import Answer, Tree, error, make_xml

SPACE = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
SERVICE = "autoscaling"
INVALID = "ValidationError"


class RefusedError(Exception):
    """A call that Auto Scaling refuses: code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def answer(self) -> Answer:
        """Return it as the client reads it."""
        return error(SERVICE, self.code, self.message, 500 if self.code == "ResourceContention" else 400)


def scaling_answer(action: str, content: dict[str, Tree]) -> Answer:
    """Answer like Auto Scaling."""
    meta = f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
    result = f"<{action}Result>{make_xml(content, 'member')}</{action}Result>"
    return Answer(200, "text/xml", f'<{action}Response xmlns="{SPACE}">{result}{meta}</{action}Response>'.encode())


def format_time(at: float) -> str:
    """Return a time as Auto Scaling writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    """Return the time in a request; one without a zone is UTC."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
