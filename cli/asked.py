"""What a command may claim about AWS: nothing unless AWS was asked."""

from dataclasses import dataclass

from cli import show
from infra.errors import CloudError, CredentialsError


@dataclass(frozen=True)
class Scope:
    """Where a command looks for clusters and images."""

    dry_run: bool = False
    region: str | None = None
    everywhere: bool = False

    def __str__(self) -> str:
        from infra.ec2.account import default_region

        if self.dry_run:
            return "on the local cloud"
        if self.everywhere:
            return "in any region"
        return f"in {self.region or default_region() or 'the regions known here'}"


def describe_asked(scope: Scope) -> str:
    """Return where a command has looked."""
    return str(scope) if find_obstacle(scope) is None else "on the local cloud"


def widen(command: str, scope: Scope) -> str:
    """Return a listing's command with the flag that asks for as much as can be asked."""
    if scope.dry_run:
        return f"{command} --dry-run"
    return f"{command} --all-regions" if find_obstacle(scope) is None else command


def check_asked(scope: Scope, again: str) -> None:
    """Raise CloudError, with the command to type `again`, if AWS should have been asked and could not be."""
    obstacle = find_obstacle(scope)
    if obstacle is not None:
        raise obstacle_error(obstacle, again)


def report_unasked(scope: Scope, again: str) -> None:
    """Say that AWS was not asked where only the local cloud was ever used; elsewhere that is an error, as in `check_asked`."""
    from infra.clouds import used_only_local

    obstacle = find_obstacle(scope)
    if obstacle is None:
        return
    if not (isinstance(obstacle, CredentialsError) and used_only_local()):
        raise obstacle_error(obstacle, again)
    show.say(f"(AWS was not asked: {obstacle.what})")


def find_obstacle(scope: Scope) -> CloudError | None:
    """Return what kept AWS from being asked; None if it was, or was not to be."""
    from infra.clouds import explain_unasked

    return None if scope.dry_run else explain_unasked(scope.region, everywhere=scope.everywhere)


def obstacle_error(obstacle: CloudError, again: str) -> CloudError:
    """Return the error for what nobody looked for and may be there."""
    hint = f"log in (aws sso login, or aws configure), then: {again}; without AWS: {again} --dry-run"
    if not isinstance(obstacle, CredentialsError):
        hint = f"{again} --region us-east-1, or: aws configure set region us-east-1"
    return type(obstacle)(f"could not ask AWS: {obstacle.what}. Cannot tell whether anything is running there", hint)
