"""Redaction of secrets in logs and reports."""

import os
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

MASK = "***"
SHORT = 6  # a shorter value is masked only as a whole word
SECRET_NAME = re.compile(r"key|token|secret|passw|pwd|credential|auth|cookie|signature", re.IGNORECASE)
# Recognizable secrets: AWS's key ids, private keys, tokens of well-known services, passwords in URLs.
SECRETS = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:ghp|gho|ghs|github_pat|glpat|hf|sk|xox[a-z])[_-][A-Za-z0-9_-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"
    r"|(?P<scheme>\w://)[^\s/@]+:[^\s/@]+@",
    re.DOTALL,
)
# Every repetition is bounded: the text may come from a node, which could make a backtracking pattern take hours.
NAMED = re.compile(
    r"(?<![\w-])(?P<name>(?=[\w-]{0,80}?(?:token|secret|passw|authorization|signature|access[_-]?key))"
    r"[\w-]{1,100}[\"']?\s{0,3}[=:]\s{0,3})(?:bearer |basic )?[^\s,;&]+",
    re.IGNORECASE,
)
_hidden: set[str] = set()
_lock = threading.Lock()


def hide(values: Iterable[str]) -> None:
    """Mask these values from now on, quoted or not, and each line of a multi-line value."""
    with _lock:
        for value in values:
            for part in {value, *value.splitlines()}:
                _hidden.update(filter(str.strip, (part, repr(part)[1:-1])))


def hide_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Mask the values of variables with secret-sounding names, and the name of a profile."""
    hide(value for name, value in environment.items() if SECRET_NAME.search(name) and not Path(value).is_absolute())
    hide(value for name, value in environment.items() if name.endswith("_PROFILE") and value != "default")


def redact(text: str) -> str:
    """Return the text with hidden values, and whatever looks like a secret, masked."""
    with _lock:
        values = sorted(_hidden, key=len, reverse=True)
    for value in values:
        if len(value) >= SHORT:
            text = text.replace(value, MASK)
        elif value in text:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, text)
    text = SECRETS.sub(lambda found: f"{found['scheme'] or ''}{MASK}{'@' if found['scheme'] else ''}", text)
    return NAMED.sub(rf"\g<name>{MASK}", text)
