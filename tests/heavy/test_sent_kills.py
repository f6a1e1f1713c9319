"""Sent jobs whose machines are killed again and again, and with many tasks: `make test-sent`; takes minutes."""

import os
import sys

import pytest

from tests import away_fixtures, s3
from tests.agent.test_away_kills import kill_among_tasks, kill_at_random_moments
from tests.away_fixtures import Sending

pytestmark = pytest.mark.timeout(1800)
proxy, sending = s3.proxy, away_fixtures.sending


def test_a_training_killed_at_twenty_random_moments_ends_as_one_that_never_was(sending: Sending) -> None:
    seed = int(os.environ.get("SEED", "0"))
    attempt, lost_s = kill_at_random_moments(sending, kills=20, seed=seed)
    sys.stderr.write(f"seed {seed}: 20 kills, attempt {attempt}, lost at most {lost_s:.1f} s\n")


def test_each_of_two_hundred_tasks_has_one_result_though_two_of_four_machines_are_killed(sending: Sending) -> None:
    kill_among_tasks(sending, tasks=200, machines=4, kills=2)
