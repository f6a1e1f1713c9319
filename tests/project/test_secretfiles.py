"""Which files are taken for secrets."""

import re
from pathlib import Path

import pytest

from infra.project.secretfiles import is_secret

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "data.md"


@pytest.mark.parametrize(
    "name",
    [
        *(
            ".env",
            ".ENV",
            ".env.local",
            "config/prod.env",
            ".envrc",
            "Server.PEM",
            "tls.key",
            "id_rsa",
            "id_ed25519_work",
        ),
        *(
            "deploy/id_ecdsa",
            ".npmrc",
            ".pgpass",
            ".pypirc",
            ".netrc",
            ".git-credentials",
            "app/.streamlit/secrets.toml",
        ),
        *(
            ".kube/config",
            ".docker/config.json",
            ".config/gcloud/application_default_credentials.json",
            "credentials.json",
        ),
        *(
            "keys/service-account-prod.json",
            "service_account.json",
            "terraform.tfstate",
            "infra/terraform.tfstate.backup",
        ),
        *(
            ".aws/credentials",
            ".ssh/config",
            ".config/gh/hosts.yml",
            "kaggle.json",
            "prod.tfvars",
            ".env.example/token",
        ),
    ],
)
def test_what_often_holds_secrets_is_taken_for_one(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            ".env.example",
            ".env.sample",
            ".env.template",
            ".ENV.EXAMPLE",
            "prod.env.example",
            "id_rsa.pub",
            "id_map.json",
        ),
        *(
            "environment.py",
            "keys.py",
            "key",
            "monkey",
            "config.json",
            "kube/config",
            "secrets.py",
            "my.envelope",
            "hosts.yml",
        ),
    ],
)
def test_what_merely_looks_like_it_is_uploaded(name):
    assert not is_secret(name)


def test_every_kind_of_secret_that_the_readme_names_is_one():
    [sentence] = re.findall(r"^\*\*Secrets\*\* .*?: (.*?) and more", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names = re.findall("`([^`]+)`", sentence)
    assert len(names) > 5
    for name in names:
        assert is_secret(name.replace("*", "x").rstrip("/")), name
