"""Jobs that are over are removed from the machine with all their files, and only when nothing is lost."""

import json
from pathlib import Path

import pytest

from infra.run.storage import is_short
from tests.conftest import Finished, Laptop, wait_for
from tests.e2e.test_jobs import job_number


def job_folder(laptop: Laptop, number: int) -> Path:
    [folder] = Path(laptop.home).glob(f".local/state/gpujob/local/hosts/*/home/.gpujob/jobs/{number}")
    return folder


def remove(laptop: Laptop, *words: str) -> Finished:
    return laptop.type("jobs", "rm", "--cluster", "shared", *words)


def numbers(laptop: Laptop) -> list[int]:
    return [job["number"] for job in json.loads(laptop.type("jobs", "--json").out)]


def test_jobs_that_are_downloaded_are_removed_and_their_numbers_not_given_again(project):
    script = "mkdir -p deep/shut && echo out > deep/shut/out && chmod 0 deep/shut deep"
    downloaded = job_number(project.type("run", "--", "sh", "-c", script).err)
    folder = job_folder(project, downloaded)
    detached = job_number(project.type("run", "--detach", "--", "sh", "-c", "echo out > out").err)
    assert project.type("wait", str(detached)).code == 0
    running = job_number(project.type("run", "--detach", "--", "sleep", "600").err)

    refused = remove(project, str(downloaded), str(detached))
    assert (refused.code, f"job {detached} has outputs that are not downloaded" in refused.err) == (1, True)
    assert f"gpujob fetch --cluster shared {detached}" in refused.err
    refused = remove(project, "--force", str(downloaded), str(running))
    assert (refused.code, f"gpujob cancel --cluster shared {running}" in refused.err) == (1, True)
    assert "no job 999 on 'shared'" in remove(project, "999").err
    assert remove(project).code == 2
    assert remove(project, "--done", "1").code == 2
    assert folder.exists(), "nothing was removed so far"

    done = remove(project, "--done")
    assert done.code == 0, done.said
    assert f"kept job {detached}: not yet downloaded. Download: gpujob fetch" in done.err
    assert not folder.exists()
    assert not list(folder.parent.glob("*leaving*"))
    assert downloaded not in numbers(project)
    assert {detached, running} <= set(numbers(project))
    assert f"no job {downloaded}" in project.type("logs", str(downloaded)).err
    assert project.type("receipt", str(downloaded)).code == 0

    project.type("cancel", "--cluster", "shared", str(running))
    forced = remove(project, "--force", str(detached), str(running))
    assert forced.code == 0, forced.said
    assert job_number(project.type("run", "--detach", "--", "true").err) == running + 1
    again = remove(project, str(running))
    assert (again.code, f"no job {running} on 'shared'" in again.err) == (1, True)
    wait_for(lambda: project.type("wait").code == 0, "end of the last job")


def test_only_the_command_line_removes_what_is_not_downloaded(project):
    project.write("gpujob.toml", "[jobs]\nforce = true\n")
    assert project.type("jobs").code == 2
    (project.project / "gpujob.toml").unlink()
    number = job_number(project.type("run", "--detach", "--", "true").err)
    assert project.type("wait", str(number)).code == 0
    for variable in ("GPUJOB_FORCE", "GPUJOB_DONE"):
        bold = Laptop(project.home, project.project, {**project.settings, variable: "1"})
        assert remove(bold, str(number)).code == 2
    assert number in numbers(project)


@pytest.mark.parametrize(
    ("disk_gb", "free_gb", "short"),
    [(100, 9, True), (100, 11, False), (2000, 11, False), (2000, 9, True), (20, 3, False), (20, 1, True)],
)
def test_a_disk_is_nearly_full_below_a_tenth_and_below_10_gb(disk_gb, free_gb, short):
    assert is_short(disk_gb * 10**9, free_gb * 10**9) == short


def test_a_job_that_left_files_outside_of_its_working_folder_is_kept_until_they_are_downloaded(project):
    script = 'echo up > ../above.txt; echo home > "$HOME/left-at-home.txt"'
    number = job_number(project.type("run", "--", "sh", "-c", script).err)
    refused = remove(project, str(number))
    assert refused.code == 1, refused.said
    assert f"outside the working folder of job {number}: " in refused.err
    fetch = f"gpujob fetch --cluster shared {number} --output "
    assert fetch in refused.err
    assert {"../above.txt", "'~/left-at-home.txt'"} <= set(refused.err.split(fetch)[1].partition(";")[0].split())
    kept = remove(project, "--done")
    assert (kept.code, f"kept job {number}" in kept.err, "--output ../above.txt" in kept.err) == (0, True, True)
    assert number in numbers(project)

    fetched = project.type("fetch", str(number), "--output", "../above.txt", "--output", "~/left-at-home.txt")
    assert fetched.code == 0, fetched.said
    assert remove(project, str(number)).code == 0
    assert number not in numbers(project)
