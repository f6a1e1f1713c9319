"""Run the checks in order; whatever happens, what they created is removed and the report is written."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from tests.aws.checks import CHECKS, Check
from tests.aws.report import FAILED, NOT_RUN, PASSED, Result, format_report
from tests.aws.session import SMALL, FailedError, NotRunError, Session, clean

# How long each may run at most: what is planned and agreed to.
LAUNCHES = {
    "lease: ends by itself, spot if possible": ("40m", SMALL),
    "main: stop, start, job, bake": ("75m", SMALL),
    "copy: boots the image": ("30m", SMALL),
    "role: the least policy": ("30m", SMALL),
}
GPU = {"gpu: verify on a g4dn.xlarge": ("20m", ("--instance-type", "g4dn.xlarge"))}


def plan_cost(session: Session) -> dict[str, float]:
    """Return what each machine can cost at most, from gpujob's own plans."""
    found = {}
    for what, (hours, machine) in {**LAUNCHES, **(GPU if session.gpu else {})}.items():
        words = ("--region", session.region, "--max-hours", hours, "--plan", "--json")
        plan = json.loads(session.gpujob("up", session.name("main"), *machine, *words))
        found[what] = float(plan["lease"]["most_usd"])
    return found


def run_checks(
    session: Session, report: Path, say: Callable[[str], None], checks: Sequence[Check] = CHECKS
) -> list[Result]:
    """Run the checks and write the report after each; on Ctrl-C clean up all the same."""
    results: list[Result] = []
    try:
        for check in checks:
            say(f"{check.name} ...")
            results.append(run_check(session, check, results))
            say(f"{check.name}: {results[-1].outcome}. {results[-1].detail}")
            write_report(session, report, results, checks)
    finally:
        done = {one.check for one in results}
        if any(check.name not in done for check in checks) or not checks:
            say("interrupted; removing what was created")
            left = clean(session)
            results.append(Result("cleaning up", FAILED if left else PASSED, "; ".join(left)))
        write_report(session, report, results, checks)
    return results


def run_check(session: Session, check: Check, earlier: Sequence[Result]) -> Result:
    """Run one check, unless one that it needs has not passed."""
    passed = {one.check for one in earlier if one.outcome == PASSED}
    if check.needs and check.needs not in passed:
        return Result(check.name, NOT_RUN, f"needs: {check.needs}")
    started = time.monotonic()
    try:
        outcome, detail = PASSED, check.run(session)
    except NotRunError as error:
        outcome, detail = NOT_RUN, str(error)
    except (FailedError, BotoCoreError, ClientError) as error:
        outcome, detail = FAILED, str(error)
    except (KeyError, ValueError, IndexError, TypeError) as error:  # an answer in an unexpected form
        outcome, detail = FAILED, f"{type(error).__name__}: {error}"
    return Result(check.name, outcome, detail, time.monotonic() - started)


def write_report(session: Session, path: Path, results: Sequence[Result], checks: Sequence[Check]) -> None:
    """Write the report; what has not been run yet is in it too."""
    done = {one.check for one in results}
    waiting = [Result(one.name, NOT_RUN, "interrupted before") for one in checks if one.name not in done]
    where = f"the local cloud, {session.region}" if session.local else f"AWS, {session.region}"
    path.write_text(format_report([*results, *waiting], {"commit": find_commit(), "where": where}), encoding="utf-8")


def find_commit() -> str:
    """Return the commit that is tested, and whether it was changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return said.stdout.strip() or "unknown"
