"""What the machines of a sent job start from in the bucket: agent, request, files."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.base.decoding import parse
from infra.ec2.parameters import check_values
from infra.ec2.storage.objects import Store
from infra.ec2.storage.writing import put_file, put_object
from infra.errors import NotFoundError, UsageError
from infra.model import Array
from infra.node.agent.bucket.layout import SENT
from infra.node.agent.records import MOST_JOBS
from infra.node.packing import pack_agent
from infra.project.filelist import list_files
from infra.project.files import File, Project
from infra.results.folder import last_number, open_runs
from infra.run.source import Source, read_source
from infra.run.submission import Submission, describe_request, describe_source, hide_values, make_header
from infra.run.upload import Upload, upload_project
from infra.saved.search import list_numbers
from infra.saved.sent import HINT, read_number

PACK = "pack"


@dataclass(frozen=True)
class Terms:
    """How a sent job is run: on which machines, how often it is retried, the warning before the end."""

    gpus: int = 0
    """How many GPUs a machine has."""
    retries: int = 0
    warning_s: float = 120.0


@dataclass(frozen=True)
class Sending:
    """A job that is about to be sent."""

    store: Store
    submission: Submission
    terms: Terms


@dataclass(frozen=True)
class Bundle:
    """A sent job as its bucket has it."""

    number: int
    source: Mapping[str, Any]
    code: Source
    agent: Mapping[str, str]
    """The name and SHA-256 of the agent."""


def check_sendable(submission: Submission) -> None:
    """Raise UsageError for a job whose machines could not run it without this computer."""
    request, dependencies = submission.request, submission.dependencies
    check_values(request.secrets)
    if dependencies and dependencies.secrets:
        raise UsageError(
            "a sent job cannot have credentials for a package index: everybody who can read the bucket could read them",
            "use gpujob up and gpujob run",
        )
    local = [each.path for each in request.data if not each.address]
    if local:
        raise UsageError(
            f"the data set '{local[0]}' is on this computer, which the machines of a sent job cannot reach",
            "copy it to S3, and name that in [data] of gpujob.toml",
        )
    outside = [path for path in request.outputs if os.path.normpath(path).startswith(("/", "~", ".."))]
    if outside:
        raise UsageError(
            f"a sent job keeps only files below its project, as the next machine starts with those; not {outside[0]}",
            "write to a folder of the project",
        )
    if submission.earlier or request.start_from:
        raise UsageError("a sent job cannot start from an earlier run yet", "omit --from")
    if request.nodes > 1 and not request.array:
        raise UsageError("a sent job runs on one machine; several are for the tasks of an array", "omit --nodes")
    if request.array and request.array.at_once:
        raise UsageError(
            "a sent array runs as many tasks at a time as its machines have places for, without a limit (%)",
            "omit it, and say how many machines: --nodes COUNT",
        )


def write_bundle(sending: Sending, prefix: str) -> Bundle:
    """Write a sent job to the bucket, `send.json` last: a machine finds all or nothing."""
    store, submission = sending.store, sending.submission
    check_sendable(submission)
    hide_values(submission.request)
    after = find_last_number(store, prefix, submission.project.runs)
    path, content = pack_agent()
    agent = {"name": Path(path).name, "sha256": hashlib.sha256(content).hexdigest()}
    put_object(store, f"{prefix}{agent['name']}", content)

    def attempt(upload: Upload) -> tuple[Mapping[str, Any], Source]:
        source, code = read_code(sending, upload.project)
        sent = describe(sending, upload.project, after, source)
        with tempfile.TemporaryFile() as pack:
            upload.send(list_contents(upload.project.files), pack, lambda _: None)
            pack.seek(0)
            # Named by its content: a machine that has read the `send.json` of an interrupted `send` still finds its pack.
            key = f"{PACK}-{hashlib.file_digest(pack, 'sha256').hexdigest()}"
            about = put_file(store, f"{prefix}{key}", pack)
        put_object(store, f"{prefix}{SENT}", json.dumps({**sent, "pack": {"key": key, **about}}).encode())
        return source, code

    source, code = upload_project(submission.project, attempt)
    return Bundle(after + 1, source, code, agent)


def read_code(sending: Sending, project: Project) -> tuple[dict[str, Any], Source]:
    """Return what the record of a job says of its code and its options, and the code."""
    code = read_source(project)
    return {**describe_source(project, code), **describe_request(sending.submission)}, code


def describe(sending: Sending, project: Project, after: int, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `send.json` says of a job, without where its files are."""
    submission, terms = sending.submission, sending.terms
    request = {
        **make_header(max(terms.gpus, 1), submission),
        **list_files(project.root, project.files).whole,
        "after": after,
        "source": source,
        **{"key": "", "secrets": {}},
        **dict.fromkeys(("array", "earlier", "part")),
    }
    return {
        "request": request,
        "contents": [[file.sha256, file.size_bytes] for file in list_contents(project.files)],
        **describe_array(submission.request.array, terms.gpus),
        "retries": terms.retries,
        "warning_s": terms.warning_s,
        "secrets": sorted(submission.request.secrets),
    }


def is_same(sending: Sending, prefix: str) -> bool:
    """Return whether the bucket has this job: the same files, request and terms. Raises NodeError."""
    try:
        stored = parse(sending.store.get(f"{prefix}{SENT}"), HINT)
    except NotFoundError:
        return False
    try:
        described = describe(sending, sending.submission.project, stored["request"]["after"], {})
        return bool(select_work(stored) == select_work(json.loads(json.dumps(described))))
    except (AttributeError, KeyError, TypeError):  # another version of gpujob may have written it
        return False


def select_work(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `send.json` that machines go by: no commit, no times of files."""
    request = {name: value for name, value in sent["request"].items() if name not in ("source", "list")}
    request["files"] = [[*entry[:4], *entry[5:]] for entry in request["files"]]
    return {**{name: value for name, value in sent.items() if name != "pack"}, "request": request}


def find_last_number(store: Store, prefix: str, runs: Path) -> int:
    """Return the highest number of the earlier jobs of a name, in `runs` or the bucket.

    An interrupted `send` keeps its number, with which a machine may be at work. Raises ProjectError, CloudError and NodeError.
    """
    cluster = prefix.partition("/")[0]
    with open_runs(runs, "then rerun"):
        here = last_number(runs, cluster)
    own = read_number(store, prefix)
    if own is not None:
        return own - 1
    stored = list_numbers(store, cluster)
    return max([here, *(number for number in stored if 0 < number < MOST_JOBS)])  # a machine can write any number


def describe_array(array: Array | None, gpus: int) -> dict[str, Any]:
    """Return what `send.json` says of a job's tasks; `gpus` are those of a machine."""
    if array is None:
        return {"tasks": 1, "array": None}
    return {"tasks": len(array.tasks), "array": {"tasks": [asdict(task) for task in array.tasks], "gpus": gpus}}


def list_contents(files: Sequence[File]) -> list[File]:
    """Return one file for each content, in the order of first paths, as a machine asks for them."""
    found: dict[str, File] = {}
    for file in sorted((file for file in files if file.link is None), key=lambda file: file.path):
        found.setdefault(file.sha256, file)
    return list(found.values())
