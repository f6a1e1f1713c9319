"""Find this machine's credentials: those of the environment, or of its role."""

from __future__ import annotations

import calendar
import json
import os
import threading
import time
import urllib.error
from typing import Callable

from .metadata import read_metadata
from .signing import Credentials

EARLY_S = 600.0  # AWS has new ones in the metadata at least five minutes before the old ones expire
FOLDER = "meta-data/iam/security-credentials/"


class NoCredentialsError(Exception):
    """The machine has no credentials: no role, or its metadata does not answer."""


def read_credentials() -> Credentials:
    """Return the credentials of the environment, or of the machine's role; raises NoCredentialsError."""
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        return Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN", ""))
    try:
        role = read_metadata(FOLDER).split("\n")[0].strip()
        found = json.loads(read_metadata(f"{FOLDER}{role}"))
        expires_at = calendar.timegm(time.strptime(found["Expiration"], "%Y-%m-%dT%H:%M:%SZ"))
        return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["Token"], expires_at)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise NoCredentialsError("this machine has no role") from error
        raise NoCredentialsError(f"the machine's metadata answered {error.code}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoCredentialsError(f"the machine's metadata has no credentials: {error}") from error


class Kept:
    """Credentials that are read again before they expire; may be used by several threads."""

    def __init__(self, read: Callable[[], Credentials] = read_credentials) -> None:
        """Start without any."""
        self.read = read
        self.held: Credentials | None = None
        self.lock = threading.Lock()

    def get(self, now_s: float) -> Credentials:
        """Return valid credentials; raises NoCredentialsError.

        Those not yet expired serve while no new ones are found.
        """
        with self.lock:
            if self.held is None or now_s > self.held.expires_at - EARLY_S:
                try:
                    self.held = self.read()
                except NoCredentialsError:
                    if self.held is None or now_s > self.held.expires_at:
                        raise
            return self.held

    def forget(self, refused: Credentials) -> None:
        """Read new ones next time, after AWS has refused these."""
        with self.lock:
            if self.held == refused:
                self.held = None
