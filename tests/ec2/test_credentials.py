"""Where credentials and the region come from, and how to renew them."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import (
    CredentialRetrievalError,
    LoginRefreshRequired,
    SSOTokenLoadError,
    UnauthorizedSSOTokenError,
)

from infra.ec2.account import default_region, open_aws
from infra.ec2.credentials import LOG_IN, how_to_log_in, open_session
from infra.ec2.errors import aws_errors
from infra.errors import CredentialsError
from tests.here import move_in

ROLE = "arn:aws:iam::123456789012:role/trainer"
CONFIG = f"""
[default]
region = eu-west-1
[profile keys]
aws_access_key_id = AKIAEXAMPLE
aws_secret_access_key = any
[profile work]
sso_start_url = https://example.awsapps.com/start
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = dev
[profile new]
sso_session = corp
[profile console]
login_session = arn:aws:iam::123456789012:user/me
[profile tool]
credential_process = /usr/bin/printcreds
[profile ci]
web_identity_token_file = /nowhere/token
role_arn = {ROLE}
[profile role]
role_arn = {ROLE}
source_profile = work
[profile mfa]
role_arn = {ROLE}
source_profile = keys
mfa_serial = arn:aws:iam::123456789012:mfa/me
[profile a]
source_profile = b
[profile b]
source_profile = a
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    move_in(tmp_path, monkeypatch)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ("work", "aws sso login --profile work; then rerun"),
        ("new", "aws sso login --profile new; then rerun"),
        ("role", "aws sso login --profile work; then rerun"),
        ("console", "aws login --profile console; then rerun"),
        ("tool", "aws configure get credential_process --profile tool"),
        ("ci", "renew the token in /nowhere/token"),
        ("mfa", "aws sts get-caller-identity --profile mfa; then rerun"),
        ("a", LOG_IN),
        ("default", LOG_IN),
        ("nothing", LOG_IN),
    ],
)
def test_each_kind_of_profile_is_renewed_in_its_own_way(profile, says, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", profile)
    assert says in how_to_log_in()


@pytest.mark.parametrize(
    "error",
    [
        UnauthorizedSSOTokenError(),
        SSOTokenLoadError(error_msg="Token for corp does not exist"),
        LoginRefreshRequired(),
        CredentialRetrievalError(provider="sso", error_msg="x"),
        FileNotFoundError(2, "No such file", "/nowhere/token"),
        EOFError(),
    ],
)
def test_a_login_that_has_ended_names_the_command_with_its_profile(error, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "work")
    with pytest.raises(CredentialsError) as refused, aws_errors():
        raise error
    assert refused.value.hint == "aws sso login --profile work; then rerun"


def test_a_web_identity_without_its_token_is_an_error_of_credentials(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "ci")
    with pytest.raises(CredentialsError) as refused:
        open_aws("us-east-1")
    assert "renew the token" in refused.value.hint


def test_keys_in_variables_are_named(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    assert "AWS_SESSION_TOKEN, or unset them" in how_to_log_in()


def test_the_session_of_a_role_is_read_from_the_cache_of_the_aws_cli(home, monkeypatch):
    """No MFA code is asked for, and AWS, which is out of reach, is not called."""
    monkeypatch.setenv("AWS_PROFILE", "mfa")
    words = {"RoleArn": ROLE, "SerialNumber": "arn:aws:iam::123456789012:mfa/me"}
    key = hashlib.sha1(json.dumps(words, sort_keys=True).encode()).hexdigest()
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    keys = {"AccessKeyId": "ASIACACHED", "SecretAccessKey": "any", "SessionToken": "any", "Expiration": until}
    (home / ".aws/cli/cache").mkdir(parents=True)
    (home / f".aws/cli/cache/{key}.json").write_text(json.dumps({"Credentials": keys}))
    credentials = open_session().get_credentials()
    assert credentials is not None
    assert credentials.get_frozen_credentials().access_key == "ASIACACHED"


def test_the_region_is_read_as_by_the_aws_cli(monkeypatch):
    assert default_region() == "eu-west-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert default_region() == "us-west-2"
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert default_region() == "us-east-2"
    assert open_session("us-east-1").region_name == "us-east-1"
