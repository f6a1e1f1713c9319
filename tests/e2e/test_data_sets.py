"""Data sets of [data]: on the machine once, at their path in every job, never changed by one."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.local import process
from tests.e2e.test_jobs import job_number
from tests.local_cloud_fixtures import client

READ = """
import os, pathlib, sys
for folder, _, files in sorted(os.walk(sys.argv[1])):
    for name in sorted(files):
        print(name, pathlib.Path(folder, name).read_text())
"""


def receipt(project, number):
    return json.loads((project.project / "runs" / f"shared-{number}/receipt.json").read_text())


def find_sets(project, path):
    """The versions of a data set that the machine has; other tests have theirs there, too."""
    return [one for one in json.loads(project.type("data", "ls", "--json").out) if one["path"] == path]


def own_folder(project, label):
    """A path that no other test uses: the machine is shared."""
    return f"data/{label}-{hashlib.sha256(str(project.project).encode()).hexdigest()[:8]}"


def test_a_data_set_is_sent_once_and_is_at_its_path_in_every_job_though_git_ignores_it(project):
    path = own_folder(project, "cats")
    project.write(".gitignore", "data/\n")
    project.write("gpujob.toml", f'[data]\nfolders = ["{path}"]\n')
    for number in range(3):
        project.write(f"{path}/deep/cat{number}.txt", f"cat {number}" * 1000)
    project.write(f"{path}/.env", "KEY=secret")
    project.write("read.py", READ)
    first = project.type("run", "read.py", path)
    assert first.code == 0, first.said
    assert f"data {path}: 3 files, " in first.err
    assert f"not part of {path} (may contain secrets): '.env'" in first.err
    assert "cat0.txt cat 0" in first.out
    assert ".env" not in first.out
    second = project.type("run", "read.py", path)
    assert second.out.split("\n", 1)[1:] == first.out.split("\n", 1)[1:]
    assert "uploaded)" in second.err
    assert f"data {path}:" not in second.err
    [stored] = find_sets(project, path)
    assert (stored["files"], stored["size_bytes"], stored["changed"]) == (3, 15000, 0)
    first_run, second_run = (receipt(project, job_number(run.err)) for run in (first, second))
    assert first_run["job"]["data"] == second_run["job"]["data"] == {path: stored["version"]}
    assert first_run["outputs"] == []

    # a second version shares what it has in common with the first
    project.write(f"{path}/deep/cat1.txt", "another cat")
    third = project.type("run", "read.py", path)
    assert "cat1.txt another cat" in third.out
    assert f"data {path}: 3 files, 10.0 kB (11 bytes uploaded)" in third.err, third.err
    assert len(find_sets(project, path)) == 2
    changed = project.type("diff", str(job_number(second.err)), str(job_number(third.err)), "--json")
    assert f"data {path}" in json.loads(changed.out)["differs"]

    removed = project.type("data", "rm", path)
    assert removed.code == 0, removed.said
    assert find_sets(project, path) == []


def test_writing_to_a_data_set_fails_and_says_why_and_changes_nothing(project):
    path = own_folder(project, "dogs")
    project.write("gpujob.toml", f'[data]\nfolders = ["{path}"]\n')
    project.write(f"{path}/dog.txt", "dog")
    project.write("break.py", f"open('{path}/dog.txt', 'w').write('cat')\n")
    failed = project.type("run", "break.py")
    assert failed.code == 1
    assert f"{path} is a data set of [data] in gpujob.toml, which jobs cannot change" in failed.out
    tidy = project.type("run", "--", f"rm -rf {path}; cat {path}/dog.txt")
    assert tidy.out.endswith("dog"), tidy.said


def test_a_data_set_that_was_changed_on_the_machine_is_found_out_and_sent_again(project):
    path = own_folder(project, "birds")
    project.write("gpujob.toml", f'[data]\nfolders = ["{path}"]\n')
    project.write(f"{path}/bird.txt", "bird")
    project.write("read.py", READ)
    assert project.type("data", "push", path).code == 0
    [stored] = find_sets(project, path)
    tree = f"~/.gpujob/data/trees/{stored['version']}/set"
    spoil = project.type("ssh", "shared", "--", f"chmod u+w {tree}/bird.txt; echo worm > {tree}/bird.txt")
    assert spoil.code == 0, spoil.said
    run = project.type("run", "read.py", path)
    assert run.code == 0, run.said
    assert f"{path} was changed on the machine (bird.txt); sent those files again" in run.err
    assert "bird.txt bird" in run.out


def test_data_outside_the_project_is_sent_only_after_consent_that_yes_does_not_give(project):
    path = own_folder(project, "far")
    outside = project.project.parent / f"outside-{project.project.name}"
    outside.mkdir()
    (outside / "far.txt").write_text("far away")
    project.write("gpujob.toml", f'[data]\n"{path}" = "{outside}"\n')
    project.write("read.py", READ)
    refused = project.type("run", "--yes", "read.py", path)
    assert refused.code == 2
    assert "next: allow it, once for this project: gpujob data push --cluster shared --allow-outside" in refused.err
    assert find_sets(project, path) == []
    allowed = project.type("data", "push", "--allow-outside")
    assert allowed.code == 0, allowed.said
    run = project.type("run", "read.py", path)
    assert "far.txt far away" in run.out, run.said


@pytest.fixture
def web(tmp_path_factory) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server on this computer: its address, its folder, and what was asked of it."""
    folder, asked = tmp_path_factory.mktemp("web"), []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder, asked
        server.shutdown()


def test_a_file_of_the_web_is_fetched_by_the_machine_once_and_checked(project, web):
    address, folder, asked = web
    (folder / "x.bin").write_bytes(b"from the web" * 1000)
    sha256, path = hashlib.sha256(b"from the web" * 1000).hexdigest(), own_folder(project, "x")
    project.write("gpujob.toml", f'[data]\n"{path}" = "{address}/x.bin?key=abc#sha256={sha256}"\n')
    for _ in range(2):
        run = project.type("run", "--", f"wc -c < {path}")
        assert run.out.endswith("\n12000\n"), run.said
    assert asked == ["/x.bin?key=abc"]
    assert "key=abc" not in json.dumps(receipt(project, job_number(run.err)))
    project.write("gpujob.toml", f'[data]\n"{path}" = "{address}/x.bin#sha256={"0" * 64}"\n')
    wrong = project.type("run", "--", "true")
    assert wrong.code != 0
    assert f"has the SHA-256 {sha256}, but gpujob.toml has {'0' * 64}" in wrong.said


def test_a_bucket_is_fetched_by_the_machine_and_only_what_changed_in_it_again(project):
    cloud = process.find(project.home / ".local/state/gpujob/local")
    s3, bucket = client(cloud, "s3"), own_folder(project, "bucket").removeprefix("data/")
    s3.create_bucket(Bucket=bucket)
    for name, text in {"set/a.txt": "one", "set/deep/b.txt": "two", "settle.txt": "no", "set/empty": ""}.items():
        s3.put_object(Bucket=bucket, Key=name, Body=text.encode())
    path = own_folder(project, "big")
    project.write("gpujob.toml", f'[data]\n"{path}" = "s3://{bucket}/set"\n')
    project.write("read.py", READ)
    secrets = {"AWS_ACCESS_KEY_ID": cloud.access_key, "AWS_SECRET_ACCESS_KEY": "any", "AWS_ENDPOINT_URL_S3": cloud.url}
    words = ("run", *(word for name in secrets for word in ("--secret", name)), "read.py", path)
    laptop = replace(project, settings={**project.settings, **secrets})
    first = laptop.type(*words)
    assert first.code == 0, first.said
    assert "a.txt one\nempty \nb.txt two\n" in first.out
    assert "3 files, 6 bytes, version" in first.out
    s3.put_object(Bucket=bucket, Key="set/a.txt", Body=b"three")
    second = laptop.type(*words)
    assert "a.txt three\nempty \nb.txt two\n" in second.out, second.said
    assert f"data: {path}: 100% of 5 bytes" in second.out
    versions = [receipt(project, job_number(run.err))["job"]["data"][path] for run in (first, second)]
    assert len({*versions}) == 2
    again = laptop.type("rerun", str(job_number(first.err)), *(word for name in secrets for word in ("--secret", name)))
    assert "a.txt three" in again.out, again.said
    denied = project.type("run", "read.py", path)
    assert denied.code != 0
    assert f"cannot fetch s3://{bucket}/set" in denied.said


def test_the_cache_of_the_home_folder_is_there_for_the_next_job_and_is_no_output(project):
    mark = own_folder(project, "mark").replace("/", "-")
    cache = f"~/.cache/huggingface/{mark}"
    first = project.type("run", "--", f"mkdir -p {cache} && echo model > {cache}/weights")
    assert first.code == 0, first.said
    assert "not downloaded" not in first.err
    second = project.type("run", "--", f"cat {cache}/weights")
    assert second.out == "model\n", second.said
