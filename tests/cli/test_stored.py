"""What is said of the bucket of a terminated cluster."""

from dataclasses import replace

import pytest

from cli.uploads.stored import place_flags
from tests.cli.test_status import STUD


@pytest.mark.parametrize(
    ("cloud", "region", "flags"),
    [
        ("aws", "us-east-1", ""),
        ("aws", "eu-west-1", " --region eu-west-1"),
        ("local", "us-east-1", " --dry-run"),
        ("local", "us-west-2", " --dry-run --region us-west-2"),
    ],
)
def test_the_command_that_empties_it_asks_the_right_place(monkeypatch, cloud, region, flags):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("GPUJOB_DRY_RUN", raising=False)
    assert place_flags(replace(STUD, cloud=cloud, region=region)) == flags
    monkeypatch.setenv("GPUJOB_DRY_RUN", "1")
    assert "--dry-run" not in place_flags(replace(STUD, cloud=cloud, region=region))
