"""The report: each check passed, failed with EC2's message, or not run; without secrets and account numbers."""

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import botocore

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
# In this order: an ARN contains an account number.
SECRETS: Mapping[str, str] = {
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)": "[key]",
    r"Encoded authorization (failure )?message: \S+": "[encoded message]",
    r"\b(AKIA|ASIA|AIDA|AROA)[A-Z0-9]{12,}(:\S+)?": "[id]",
    r"arn:aws[a-z-]*:\S*": "[arn]",
    r"(?i)\b(aws_?)?(secret|session|security)[a-z_-]*(key|token)\b\W*\S+": "[secret]",
    r"(?<![0-9A-Za-z])[0-9]{12}(?![0-9A-Za-z])": "[account]",
    r"(?<![0-9.])[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]+)?(?![0-9.])": "[address]",
    r"[A-Za-z0-9+/=_-]{60,}": "[long word]",
}


@dataclass(frozen=True)
class Result:
    """The result of one check."""

    check: str
    outcome: str
    detail: str
    seconds: float = 0.0


def redact(text: str, home: Path | None = None) -> str:
    """Return a text without secrets, account numbers, addresses and the home folder."""
    text = text.replace(str(home or Path.home()), "~")
    for pattern, word in SECRETS.items():
        text = re.sub(pattern, word, text, flags=re.DOTALL)
    return text


def format_report(results: Sequence[Result], facts: Mapping[str, str]) -> str:
    """Return the report as Markdown."""
    counts = ", ".join(f"{sum(one.outcome == kind for one in results)} {kind}" for kind in (PASSED, FAILED, NOT_RUN))
    known = {
        "finished": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "python": f"{platform.python_version()}, botocore {botocore.__version__}, {platform.system()}",
        **facts,
        "checks": counts,
    }
    lines = ["# Acceptance test", "", *(f"- {name}: {redact(value)}" for name, value in known.items()), ""]
    lines += ["| check | result | time | detail |", "|---|---|---|---|"]
    for one in results:
        detail = " ".join(redact(one.detail).split()).replace("|", "\\|")
        lines.append(f"| {one.check} | {one.outcome} | {one.seconds:.0f} s | {detail} |")
    return "\n".join([*lines, ""])
