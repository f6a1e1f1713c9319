"""Run the acceptance test: make test-aws. On AWS only with GPUJOB_TEST_AWS=1 and a region."""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.ec2.account import strip_session
from tests.aws.run import plan_cost, run_checks
from tests.aws.session import FailedError, Session, clean

REPOSITORY = Path(__file__).parent.parent.parent
REPORT = Path("aws-report.md")


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


def main() -> int:
    """Show the plan and its maximum cost, ask, run the checks, clean up, write the report."""
    asked = read_arguments()
    refusal = refuse(asked)
    if refusal:
        print(refusal, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        session = open_session(asked.region, gpu=asked.gpu)
        print(f"cleaning up after earlier runs in {asked.region}", flush=True)
        left = clean(session)
        if left:
            print("cannot clean up after an earlier run:", *left, sep="\n  ", file=sys.stderr)
            return 1
        if not agree(session, asked):
            return 2
    except (BotoCoreError, ClientError, FailedError) as error:
        print(f"the account cannot be asked: {error}", file=sys.stderr)
        return 1
    results = run_checks(session, REPORT, print)
    print(f"wrote {REPORT}")
    return 1 if any(one.outcome == "failed" for one in results) else 0


def read_arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="make test-aws", description=__doc__)
    parser.add_argument("--region", default=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"))
    parser.add_argument("--gpu", action="store_true", help="also test a g4dn.xlarge, for at most 20 minutes")
    parser.add_argument("--max-usd", type=float, default=1.0, help="refuse to start if it can cost more [1.00]")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args()


def refuse(asked: argparse.Namespace) -> str:
    """Return why nothing is done; "" if it may be."""
    if os.environ.get("GPUJOB_TEST_AWS") != "1":
        return "this launches machines that cost money: set GPUJOB_TEST_AWS=1 to run it"
    if not asked.region:
        return "name a region: make test-aws ARGS='--region us-east-1'"
    if os.environ.get("CI"):
        return "this is not for CI, which has no account"
    return ""


def agree(session: Session, asked: argparse.Namespace) -> bool:
    """Show what is launched and what it can cost at most; return whether the person agrees."""
    costs = plan_cost(session)
    for what, usd in costs.items():
        print(f"  {what:<40} at most ${usd:.2f}")
    total = sum(costs.values())
    print(
        f"in {session.region}, at most ${total:.2f} in total; everything is named {session.prefix}-* and removed at the end"
    )
    if total > asked.max_usd:
        print(f"that is more than ${asked.max_usd:.2f}: --max-usd", file=sys.stderr)
        return False
    return asked.yes or input("Run it? [y/N] ").strip().lower() in ("y", "yes")


def open_session(region: str, *, gpu: bool) -> Session:
    """Return a session on AWS; its state is kept, so that the next run can clean up after one that was killed."""
    aws = boto3.Session(region_name=region)
    identity = aws.client("sts").get_caller_identity()
    owner = strip_session(identity["Arn"])
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "gpujob-acceptance"
    folder = folder / hashlib.sha256(owner.encode()).hexdigest()[:6]
    project = folder / "project"
    project.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUJOB_")}
    settings = {**kept, "XDG_STATE_HOME": str(folder), "AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    return Session(type_in(project, settings), make_clients(aws), region, owner, folder / "gpujob", project, gpu=gpu)


def make_clients(aws: boto3.Session) -> Callable[[str], Any]:
    """Return what makes the clients of a session."""
    return lambda service: aws.client(service)  # type: ignore[call-overload]


def type_in(project: Path, settings: Mapping[str, str]) -> Callable[[tuple[str, ...], Mapping[str, str]], Said]:
    """Return what runs gpujob from this tree in a folder, without a terminal."""

    def run(words: tuple[str, ...], variables: Mapping[str, str]) -> Said:
        print(f"$ gpujob {' '.join(words)}", flush=True)
        environment = {name: value for name, value in {**settings, **variables}.items() if value}
        command = [sys.executable, str(REPOSITORY / "cli/__main__.py"), *words]
        ended = subprocess.run(
            command, cwd=project, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return Said(ended.returncode, ended.stdout, ended.stderr)

    return run


if __name__ == "__main__":
    sys.exit(main())
