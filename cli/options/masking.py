"""What to say of secrets before a job gets them."""

from collections.abc import Mapping

from cli.terminal import show
from infra.errors import UsageError
from infra.model import Request
from infra.node.agent.job.mask import LEAST_CHARACTERS


def check_secrets(request: Request) -> None:
    """Warn of secrets that are too short to be masked; raises UsageError if a record would show one."""
    for name, value in request.secrets.items():
        if len(value) < LEAST_CHARACTERS:
            show.say(
                f"warning: {name} has fewer than {LEAST_CHARACTERS} characters, which any text may contain: "
                "it is not masked in the job's log"
            )
        elif place := find_shown(value, request):
            raise UsageError(
                f"{place} contains the value of {name}, and is kept in the job's records",
                f"leave it out, and read it in the job: os.environ[{name!r}], or in a shell script: ${name}",
            )


def find_shown(value: str, request: Request) -> str:
    """Return what of a request would show a value; "" if nothing."""
    places: Mapping[str, str] = {
        "the command": " ".join(request.command),
        "--name": request.name,
        **{f"--env {name}": text for name, text in request.env.items()},
    }
    return next((place for place, text in places.items() if value in text), "")
