"""What a role may do, as IAM simulates it; moto does not.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends

from infra.local.cloud.answers import Answer, Tree, error, make_xml
from infra.local.cloud.iam.permissions import Need
from infra.local.cloud.iam.policies import is_allowed
from infra.local.cloud.iam.roles import list_policies
from infra.local.cloud.request import Request

TAG = "aws:ResourceTag/"
NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"


def simulate_principal_policy(request: Request) -> Answer:
    """Return whether a role may take each action on each resource; without a resource, on all."""
    arn = request.params.get("PolicySourceArn", "")
    roles = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].roles.values()
    role = next((role for role in roles if role.arn == arn), None)
    if role is None:
        return error("iam", "NoSuchEntity", f"Entity {arn} does not exist.", 404)
    policy = {"Statement": [each for one in list_policies(role) for each in one["Statement"]]}
    facts = read_facts(request)
    tags = {key.removeprefix(TAG): value for key, value in facts.items() if key.startswith(TAG)}
    rows: list[Tree] = []
    for action in read_words(request, "ActionNames"):
        for resource in read_words(request, "ResourceArns") or ["*"]:
            need = Need(action, resource, {}, tags, max_size=facts.get("autoscaling:MaxSize", ""))
            decision = "allowed" if is_allowed(policy, need, {}) else "implicitDeny"
            rows.append({"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": decision})
    name = "SimulatePrincipalPolicy"
    result = {"EvaluationResults": rows, "IsTruncated": False}
    inner = make_xml({f"{name}Result": result}, item="member")
    return Answer(200, "text/xml", f'<{name}Response xmlns="{NAMESPACE}">{inner}</{name}Response>'.encode())


def read_words(request: Request, name: str) -> list[str]:
    """Return the words of a list in a request."""
    found: list[str] = []
    while word := request.params.get(f"{name}.member.{len(found) + 1}"):
        found.append(word)
    return found


def read_facts(request: Request) -> dict[str, str]:
    """Return what a request says of its resources and of itself, by the keys of conditions."""
    found: dict[str, str] = {}
    while key := request.params.get(f"ContextEntries.member.{len(found) + 1}.ContextKeyName"):
        words = f"ContextEntries.member.{len(found) + 1}.ContextKeyValues.member.1"
        found[key] = request.params.get(words, "")
    return found
