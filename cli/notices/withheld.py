"""Report which project files are not uploaded, and how to upload them."""

import json
from typing import TYPE_CHECKING

from cli.terminal import show
from infra.errors import UsageError
from infra.project.withheld import is_news

if TYPE_CHECKING:
    from infra.project.files import Project

SHOWN = 5


def show_withheld(project: "Project") -> None:
    """Report files that are not uploaded, why, and how to upload them, if this has changed."""
    if not is_news(project):
        return
    for reason in dict.fromkeys(each.reason for each in project.withheld):
        withheld = [each for each in project.withheld if each.reason == reason]
        names = ", ".join(repr(each.path) for each in withheld[:SHOWN])
        more = f" and {len(withheld) - SHOWN} more" if len(withheld) > SHOWN else ""
        show.say(f"not uploaded ({reason}): {names}{more}; {withheld[0].advice}")


def explain_absence(project: "Project", script: str, path: str) -> UsageError:
    """Return an error for a script that would not be uploaded, with the fix."""
    withheld = next((each for each in project.withheld if each.path == path), None)
    if withheld is None:
        return UsageError(
            f"'{script}' would not be uploaded: it is ignored",
            f"upload it: [sync] include = [{json.dumps(path)}] in gpujob.toml",
        )
    return UsageError(f"'{script}' would not be uploaded: {withheld.reason}", withheld.advice)
