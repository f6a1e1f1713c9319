"""Mutants: does any test notice when a line is wrong? `make mutants`, or `make mutants MODULE=infra/project/rules.py`.

mutmut changes one expression of a function at a time; a change that the module's nearest tests do not notice is printed as a
survivor. It switches between mutants inside one process. What the tests run as a program of its own is changed in the copy of
the tree instead, with a test run for each mutant, so only a sample is taken. Constants outside functions are never changed.
Known survivors: docs/mutants.md.
"""

import argparse
import difflib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
SEED = 11
TIMEOUT_S = 300
NEAREST = {
    "infra/project/rules.py": ["tests/project/test_project.py"],
    "infra/git/walk.py": ["tests/project/test_project.py", "tests/project/test_patterns.py"],
    "infra/git/patterns.py": ["tests/project/test_patterns.py"],
    "infra/project/secretfiles.py": ["tests/project/test_secretfiles.py"],
    "infra/git/command.py": ["tests/project/test_project.py"],
    "infra/fetch/outputs.py": ["tests/results/test_fetch.py"],
    "infra/results/shelf.py": ["tests/results/test_fetch.py"],
    "infra/results/filenames.py": ["tests/results/test_fetch.py", "tests/base/test_decoding.py"],
    "infra/ledger/costs.py": ["tests/ec2/test_money.py", "tests/ledger/test_daily_costs.py"],
    "infra/base/decoding.py": ["tests/base/test_decoding.py", "tests/base/test_decoding_types.py"],
    "infra/ec2/machines/lease.py": ["tests/ec2/test_lease.py", "tests/ec2/test_ec2.py"],
    "infra/ec2/machines/userdata.py": ["tests/ec2/test_ec2.py", "tests/ec2/test_userdata.py"],
    "infra/ec2/capacity/search.py": ["tests/ec2/test_capacity.py"],
    "infra/ec2/errors.py": ["tests/ec2/test_ec2.py"],
    "infra/node/agent/snapshot/blocks.py": ["tests/agent/test_protocol.py"],
    "infra/node/agent/node/guard.py": ["tests/agent/test_guard_rules.py"],
    "infra/node/agent/job/runner.py": ["tests/agent/test_runner.py", "tests/agent/test_agent.py"],
}
PROGRAMS = ("infra/node/agent/snapshot/blocks.py", "infra/node/agent/job/runner.py")
SETTINGS = """

[tool.mutmut]
source_paths = ["infra", "cli", "jobs", "ansible"]
only_mutate = ["{module}"]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-p", "no:xdist", "-p", "no:cacheprovider"]
use_git_change_detection = false
track_dependencies = false
"""


def main() -> int:
    """Print the survivors of the modules that were named; of all of them if none was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"one of {', '.join(NEAREST)}")
    parser.add_argument("--sample", type=int, default=25, help="mutants of what runs by itself [default: %(default)s]")
    asked = parser.parse_args()
    os.environ["CI"] = "true"  # the same examples for each mutant
    survivors = [found for module in asked.modules or NEAREST for found in survive(module, asked.sample)]
    sys.stdout.write(f"{len(survivors)} survived\n")
    return 0


def survive(module: str, sample: int) -> Iterator[str]:
    """Print and yield the survivors of a module, in a copy of the tree that is gone afterwards."""
    if not (REPOSITORY / module).is_file() or module not in NEAREST:
        raise SystemExit(f"{module}: tests/mutants.py names no tests for it, or it is gone")
    with tempfile.TemporaryDirectory(prefix="gpujob-mutants-") as folder:
        copy = Path(folder, "tree")
        for part in ("cli", "infra", "jobs", "ansible", "tests"):
            shutil.copytree(REPOSITORY / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "pyproject.toml", copy)
        with (copy / "pyproject.toml").open("a") as settings:
            settings.write(SETTINGS.format(module=module, tests=json.dumps(NEAREST[module])))
        find = find_in_place(copy, module, sample) if module in PROGRAMS else find_in_process(copy)
        for survivor in find:
            sys.stdout.write(f"# {module}\n{survivor}\n")
            sys.stdout.flush()
            yield survivor


def find_in_process(copy: Path) -> Iterator[str]:
    """Yield the survivors that mutmut finds."""
    mutmut = [sys.executable, "-m", "mutmut"]
    jobs = str(max((os.cpu_count() or 2) // 2, 1))
    run = subprocess.run(
        [*mutmut, "run", "--max-children", jobs], cwd=copy, capture_output=True, check=False, text=True
    )
    if run.returncode:
        raise SystemExit(f"mutmut failed:\n{(run.stdout + run.stderr)[-3000:]}")
    results = subprocess.run([*mutmut, "results"], cwd=copy, capture_output=True, check=True, text=True).stdout
    for line in results.splitlines():
        name, _, verdict = line.strip().partition(": ")
        if verdict in ("survived", "no tests"):
            shown = subprocess.run([*mutmut, "show", name], cwd=copy, capture_output=True, check=True, text=True).stdout
            yield shorten(shown.splitlines())


def find_in_place(copy: Path, module: str, sample: int) -> Iterator[str]:
    """Yield the survivors among a sample of mutants, each in the place of the module."""
    os.chdir(copy)  # where mutmut looks for its settings
    from mutmut.mutation.file_mutation import create_mutations, deep_replace

    path = copy / module
    source = path.read_text()
    if not passes(copy, NEAREST[module]):
        raise SystemExit(f"{module}: its tests fail without any mutant")
    tree, mutations, *_ = create_mutations(module, source)
    for mutation in random.Random(SEED).sample(mutations, min(sample, len(mutations))):
        mutant = deep_replace(tree, mutation.original_node, mutation.mutated_node).code
        path.write_text(mutant)
        if passes(copy, NEAREST[module]):
            yield shorten(list(difflib.unified_diff(source.splitlines(), mutant.splitlines(), lineterm="")))


def passes(copy: Path, tests: list[str]) -> bool:
    """Tell whether the tests pass in a copy, in time."""
    command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", *tests]
    try:
        return subprocess.run(command, cwd=copy, capture_output=True, timeout=TIMEOUT_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def shorten(diff: list[str]) -> str:
    """Return the lines of a diff that differ."""
    return "\n".join(line for line in diff if line[:1] in "+-" and line[:3] not in ("+++", "---"))


if __name__ == "__main__":
    sys.exit(main())
