"""Check secrets before they are passed to a job."""

from collections.abc import Mapping

from cli.terminal import show
from infra.errors import UsageError
from infra.model import Request
from infra.node.agent.job.mask import LEAST_CHARACTERS


def check_secrets(request: Request) -> None:
    """Warn about secrets too short to mask; raises UsageError if a record would contain one."""
    for name, value in request.secrets.items():
        if len(value) < LEAST_CHARACTERS:
            show.say(
                f"warning: {name} is not masked in the job's log: it is shorter than {LEAST_CHARACTERS} characters"
            )
        elif place := find_shown(value, request):
            raise UsageError(
                f"{place} contains the value of {name} and would be stored in the job's records",
                f"remove it, and read it in the job: os.environ[{name!r}] in Python, ${name} in a shell script",
            )


def find_shown(value: str, request: Request) -> str:
    """Return which part of a request contains a value; "" if none does."""
    grid = request.array.grid if request.array else {}
    places: Mapping[str, str] = {
        "the command": " ".join(request.command),
        "--name": request.name,
        **{f"--env {name}": text for name, text in request.env.items()},
        **{f"--grid {name}": "\n".join(values) for name, values in grid.items()},
    }
    return next((place for place, text in places.items() if value in text), "")
