"""Names that are suggested in place of invalid ones, and what `check` says without a region."""

import json

import pytest

from infra.errors import UsageError
from infra.names import check_image_name
from tests.here import move_in, type_here


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        ("My Image", "my-image"),
        ("ubuntu", "my-ubuntu"),
        ("ami-0123", "my-0123"),
        ("x" * 41, "x" * 40),
        ("!!", "gpujob"),
    ],
)
def test_an_invalid_name_of_an_image_is_answered_with_a_valid_one_like_it(typed, suggested):
    with pytest.raises(UsageError) as refused:
        check_image_name(typed)
    assert refused.value.hint == f"--as {suggested}"
    assert check_image_name(suggested) == suggested


def test_check_without_a_region_reports_the_region(tmp_path, monkeypatch):
    move_in(tmp_path, monkeypatch, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y")
    checked = type_here("check", "--json")
    assert checked.code == 1
    (only,) = json.loads(checked.out)
    assert (only["what"], only["ok"]) == ("region", False)
