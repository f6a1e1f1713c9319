"""Report which project files are not uploaded, and how to upload them."""

from typing import TYPE_CHECKING

from cli.terminal import show
from infra.errors import UsageError
from infra.project.exclusion import find_exclusion
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
    found = find_exclusion(project, project.root / path)
    rule, advice = (found.rule, found.advice) if found else ("ignored", "")
    return UsageError(f"'{script}' would not be uploaded: {rule}", advice)
