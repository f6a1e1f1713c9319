"""Who owns what: a user or role finds its own after each login, and nobody is taken for anybody else."""

from hypothesis import given
from hypothesis import strategies as st

from infra.ec2.account import Identity, is_same_owner

ACCOUNTS = st.sampled_from(["111111111111", "222222222222"])
NAMES = st.from_regex(r"\A[a-z][a-z+=,.@_]{0,11}[a-z]\Z")
TIMES = st.integers(1_700_000_000, 2_000_000_000)
UNITS = st.sampled_from([1, 1_000, 1_000_000_000])
PROGRAMS = (
    "botocore-session-{}",
    "aws-go-sdk-{}",
    "aws-sdk-js-{}",
    "aws-sdk-js-session-{}",
    "aws-sdk-java-{}",
    "assume-role-from-profile-{}",
    "web-identity-token-{}",
    "{}",
)


@st.composite
def principals(draw: st.DrawFn) -> tuple[str, str, str, str]:
    """A user or role: its kind, account, name, and the person that a session may be named after."""
    kind = draw(st.sampled_from(["root", "user", "role", "person", "program", "sso", "federated"]))
    name = "" if kind == "root" else draw(NAMES)
    person = draw(NAMES) if kind in ("person", "program", "sso") else ""
    return kind, draw(ACCOUNTS), name, person


@st.composite
def logins(draw: st.DrawFn, principal: tuple[str, str, str, str]) -> str:
    """The ARN of one login of a user or role."""
    kind, account, name, person = principal
    role = f"arn:aws:sts::{account}:assumed-role"
    if kind == "root":
        return f"arn:aws:iam::{account}:root"
    if kind == "user":
        return f"arn:aws:iam::{account}:user/team/{name}"
    if kind == "federated":
        return f"arn:aws:sts::{account}:federated-user/{name}"
    if kind == "sso":
        return f"{role}/AWSReservedSSO_{name}_0123456789abcdef/{person}@example.com"
    time = draw(TIMES) * draw(UNITS)
    if kind == "person":
        return f"{role}/{name}/{person}"
    if kind == "program":
        return f"{role}/{name}/{person}-{draw(st.sampled_from([str(time), str(draw(st.uuids()))]))}"
    return f"{role}/{name}/{draw(st.sampled_from(PROGRAMS)).format(time)}"


@given(st.data(), principals(), principals())
def test_each_login_of_one_principal_is_the_owner_and_no_login_of_another_is(data, one, other):
    first, second, third = data.draw(logins(one)), data.draw(logins(one)), data.draw(logins(other))
    assert Identity("", first).is_owner(second)
    assert Identity("", first).is_owner(third) == (one == other)
    assert is_same_owner(third, first) == is_same_owner(first, third)


@given(principals().flatmap(logins))
def test_what_has_no_owner_belongs_to_nobody(arn):
    assert not is_same_owner("", arn)
    assert not is_same_owner(arn, "")
    assert not is_same_owner("", "")


def test_a_number_that_is_no_time_is_a_name():
    role = "arn:aws:sts::111111111111:assumed-role/team"
    assert not is_same_owner(f"{role}/100000001", f"{role}/100000002")
    assert is_same_owner(f"{role}/1700000000123456789", f"{role}/1800000000123456789")  # aws-vault
