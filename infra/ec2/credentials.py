"""The credentials that the AWS CLI would use, cached where it caches them, and how to renew them."""

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.exceptions import BotoCoreError, UnknownCredentialError
from botocore.utils import JSONFileCache

LOG_IN = "log in: aws sso login, or aws configure; then: gpujob check; without AWS: --dry-run"
PROFILE_VARIABLE = "GPUJOB_PROFILE"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# Sessions of roles last for an hour or more. Without this, each command would ask for an MFA code again. The AWS CLI does the
# same: https://github.com/aws/aws-cli/blob/develop/awscli/customizations/assumerole.py
CACHED = ("assume-role", "assume-role-with-web-identity", "sso")


def open_session(region: str | None = None) -> boto3.Session:
    """Return the session that boto3 would make, plus cached role sessions and AWS_REGION.

    Raises botocore's exceptions, for example for a profile that does not exist.
    """
    session = find_profile()
    providers, cache = session.get_component("credential_provider"), JSONFileCache(str(cache_folder()))
    for name in CACHED:
        with suppress(UnknownCredentialError):
            providers.get_provider(name).cache = cache
    # boto3 reads only AWS_DEFAULT_REGION; the AWS CLI and all other SDKs also read AWS_REGION, and prefer it.
    return boto3.Session(botocore_session=session, region_name=region or os.environ.get("AWS_REGION") or None)


def find_profile() -> botocore.session.Session:
    """Return botocore's session; a profile from --profile overrides keys in variables."""
    return botocore.session.Session(profile=os.environ.get(PROFILE_VARIABLE) or None)


def cache_folder() -> Path:
    """Return the folder of the AWS CLI's cached sessions."""
    return Path.home() / ".aws" / "cli" / "cache"


def how_to_log_in() -> str:
    """Return the command that renews the current credentials, by where they come from."""
    if os.environ.get(KEYS[0]) and not os.environ.get(PROFILE_VARIABLE):
        return f"renew {', '.join(KEYS[:2])} and {KEYS[2]}, or unset them; then rerun"
    try:
        session = find_profile()
        profiles, name = session.full_config.get("profiles", {}), session.profile or "default"
    except BotoCoreError:
        return LOG_IN
    return explain_source(profiles, name) or LOG_IN


def explain_source(profiles: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Return how to renew the credentials of a profile or of its source profile; "" if unknown."""
    seen = set()
    while name not in seen:
        seen.add(name)
        profile, flag = profiles.get(name, {}), "" if name == "default" else f" --profile {shlex.quote(name)}"
        if "sso_session" in profile or "sso_start_url" in profile:
            return f"aws sso login{flag}; then rerun"
        if "login_session" in profile:
            return f"aws login{flag}; then rerun"
        if "credential_process" in profile:
            return f"check what its credential_process prints: aws configure get credential_process{flag}"
        if "web_identity_token_file" in profile:
            return f"renew the token in {profile['web_identity_token_file']}, then rerun"
        if "mfa_serial" in profile:
            return f"enter a new MFA code: aws sts get-caller-identity{flag}; then rerun"
        name = profile.get("source_profile", name)
    return ""
