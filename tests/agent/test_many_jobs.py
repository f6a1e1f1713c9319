"""A machine that has run hundreds of jobs: what a call costs depends on those that it is about."""

import json
import os
import subprocess
import sys
from pathlib import Path

from infra.node.packing import pack_agent
from tests.bench.growth.machine import start

COUNTED = """
import os, sys
opened = []
os._exit = lambda status: None  # with which a call ends
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" and "/jobs/" in str(args[0]) else None)
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[1:]
from agent.requests.commands import main
main()
sys.stderr.write(str(len(opened)))
"""


def ask(home: Path, *words: str) -> tuple[int, list[int]]:
    """Return how many records a call opens, and the numbers of the jobs that it tells of."""
    argv = [sys.executable, "-I", "-S", "-c", COUNTED, pack_agent()[0], *words]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "GPUJOB_LOCAL_HOST": "test"}
    done = subprocess.run(argv, cwd=home, env=environment, capture_output=True, check=True)
    answer = json.loads(done.stdout)
    jobs = [each["job"] for each in answer["jobs"]] if isinstance(answer, dict) else answer
    return int(done.stderr), [job["number"] for job in jobs]


def test_top_and_the_latest_job_cost_the_same_after_a_hundred_jobs_and_a_list_a_few_records_each(tmp_path):
    with start(tmp_path) as machine:
        number = machine.run_job("true").number
        ask(machine.home, "look", "5")
        few = {words: ask(machine.home, *words)[0] for words in (("look", "1"), ("jobs", "--last"))}
        machine.copy_job(number, 100)
        end = machine.jobs / str(number + 100) / "end.json"
        recorded = end.read_text()
        end.write_text("")  # as after a crash of the machine
        assert ask(machine.home, "look", "2")[1] == [number + 99, number + 100]
        end.write_text(recorded)
        ask(machine.home, "look", "1")
        for words, opened in few.items():
            assert ask(machine.home, *words) == (opened, [number + 100])
        opened, listed = ask(machine.home, "jobs")
        assert listed == list(range(number, number + 101))
        assert opened <= 8 * len(listed)
