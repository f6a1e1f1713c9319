"""Evaluate IAM policies: allow statements with conditions on tags, owners and callers.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from infra.local.cloud.iam.permissions import Need

VARIABLE = re.compile(r"\$\{([\w:-]+)\}")
OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "NumericEquals": lambda asked, wanted: float(asked) == float(wanted),
    "StringEquals": str.__eq__,
    "StringLike": fnmatchcase,
}

IF_EXISTS = "IfExists"


def is_allowed(policy: Mapping[str, Any], need: Need, caller: Mapping[str, str]) -> bool:
    """Return whether a policy allows what a call needs, and does not deny it.

    `caller` has the variables for conditions.
    """
    effects = {
        one["Effect"]
        for one in policy["Statement"]
        if any(fnmatchcase(need.action.lower(), pattern.lower()) for pattern in as_list(one["Action"]))
        and any(fnmatchcase(need.resource, pattern) for pattern in as_list(one["Resource"]))
        and holds(one.get("Condition", {}), need, caller)
    }
    return effects == {"Allow"}


def holds(condition: Mapping[str, Mapping[str, Any]], need: Need, caller: Mapping[str, str]) -> bool:
    """Return whether a condition holds; as in IAM, a key missing from the request matches nothing.

    Raises KeyError for an unsupported operator, so that none is silently accepted.
    """
    facts = {f"aws:RequestTag/{key}": value for key, value in need.request_tags.items()}
    facts |= {f"aws:ResourceTag/{key}": value for key, value in need.resource_tags.items()}
    facts |= {"ec2:CreateAction": need.create_action} if need.create_action else {}
    facts |= {"ec2:Owner": need.owner} if need.owner else {}
    facts |= {"autoscaling:MaxSize": need.max_size} if need.max_size else {}
    facts |= {"iam:PassedToService": need.passed_to} if need.passed_to else {}
    for operator, keys in condition.items():
        match = OPERATORS[operator.removesuffix(IF_EXISTS)]
        for key, wanted in keys.items():
            if key not in facts and operator.endswith(IF_EXISTS):
                continue
            patterns = [fill(pattern, caller) for pattern in as_list(wanted)]
            if key not in facts or not any(pattern is not None and match(facts[key], pattern) for pattern in patterns):
                return False
    return True


def fill(pattern: str, caller: Mapping[str, str]) -> str | None:
    """Return a pattern with its variables filled in; None, which matches nothing, if one is missing."""
    names = VARIABLE.findall(pattern)
    if any(name not in caller for name in names):
        return None
    return VARIABLE.sub(lambda found: caller[found[1]], pattern)


def as_list(words: str | list[str]) -> list[str]:
    """Return a policy element as a list, whether it is one string or several."""
    return [words] if isinstance(words, str) else words
