"""AWS's error codes: every documented one is classified, and its own sentence is always shown."""

import tomllib
from pathlib import Path

import botocore.session
import pytest

from infra.ec2.codes import find_code, is_listed, read_codes
from infra.ec2.errors import KINDS, classify
from infra.errors import CapacityError, CredentialsError, NotFoundError, SubscriptionError

DOCUMENTED = tomllib.loads(Path(__file__).with_name("documented.toml").read_text())
MODELLED = {"sts": None, "sso": None, "sso-oidc": None, "service-quotas": "GetServiceQuota", "pricing": "GetProducts"}
CODES = [code for kind in read_codes()["classes"] for code in read_codes()[kind]]


@pytest.mark.parametrize("call", DOCUMENTED)
def test_every_error_that_is_documented_for_a_call_of_ec2_is_listed(call):
    assert [code for code in DOCUMENTED[call].split() if not is_listed(code)] == []


@pytest.mark.parametrize(("service", "call"), MODELLED.items())
def test_every_error_in_botocore_s_model_of_a_service_is_listed(service, call):
    model = botocore.session.Session().get_service_model(service)
    calls = [call] if call else model.operation_names
    codes = {shape.error_code for name in calls for shape in model.operation_model(name).error_shapes}
    assert codes
    assert {code for code in codes if not is_listed(code)} == set()


def test_a_code_has_one_class_and_each_class_its_error_and_next_step():
    assert len(CODES) == len(set(CODES)) >= 190
    data = read_codes()
    assert set(data) == {"classes", "next", "variants", *data["classes"]}
    assert set(data["classes"]) - set(KINDS) == {"transient", "state"}
    assert all(data["classes"].values())
    assert {code for code in data["next"] if not is_listed(code)} == set()


@pytest.mark.parametrize("code", [*CODES, "NeverHeardOf"])
def test_what_aws_says_is_shown_with_its_code_and_something_to_do(code):
    error = classify(code, "the very words of EC2", "RunInstances")
    assert "the very words of EC2" in error.what
    assert code in error.what
    assert error.hint
    assert "None" not in error.what


@pytest.mark.parametrize(
    ("code", "message", "expected", "hint"),
    [
        ("AuthFailure", "Not authorized for images: [ami-0f]", NotFoundError, "--image"),
        ("AuthFailure", "AWS was not able to validate the provided access credentials", CredentialsError, "log in"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "...", SubscriptionError, "create-service-linked-role"),
        ("PendingVerification", "...", SubscriptionError, "wait"),
        ("InsufficientInstanceCapacity", "...", CapacityError, "--wait"),
    ],
)
def test_where_one_code_means_several_things_the_message_decides(code, message, expected, hint):
    error = classify(code, message, "CreateFleet")
    assert type(error) is expected
    assert hint in error.hint


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InvalidWidgetID.NotFound", "missing"),
        ("WidgetLimitExceeded", "quota"),
        ("InsufficientWidgetCapacity", "capacity"),
        ("InvalidWidget.Duplicate", "exists"),
        ("503", "transient"),
        ("Strange", ""),
    ],
)
def test_a_code_that_is_not_listed_is_classed_by_its_family(code, kind):
    assert not is_listed(code)
    assert find_code(code, "").kind == kind
