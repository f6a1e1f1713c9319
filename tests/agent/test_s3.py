"""The agent's own S3 client against moto's server, through a proxy that fails as asked; botocore judges its signatures."""

import hashlib
import os
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from infra.node.agent.away import transfer
from infra.node.agent.aws.credentials import Kept, NoCredentialsError, read_credentials
from infra.node.agent.aws.s3 import Bucket, open_bucket
from infra.node.agent.aws.signing import Credentials, Request, sign
from infra.node.agent.aws.uploads import Uploads
from infra.node.agent.aws.wire import Answer, ChangedError, NotThereError, S3Error, Slice, TakenError
from tests import s3
from tests.s3 import KEYS, Proxy

proxy = s3.proxy

KEY = Credentials("AKIDEXAMPLE", "secret/+key", "token==")
AT_S = 1_790_000_000.0


@pytest.fixture
def bucket(proxy: Proxy) -> Bucket:
    name = f"b-{uuid4()}"
    endpoint = f"http://127.0.0.1:{proxy.server_address[1]}"
    proxy.faults.clear()
    boto3.client("s3", endpoint_url=endpoint, **KEYS).create_bucket(Bucket=name)
    about = {"name": name, "region": "us-east-1", "owner": "123456789012", "endpoint": endpoint}
    return open_bucket(about, Kept(lambda: KEY), patience_s=5)


@pytest.mark.parametrize("path", ["/", "/a b/c+d/ü/~x(1).pt", "/a//b", "/%41"])
@pytest.mark.parametrize("query", [{}, {"uploads": ""}, {"prefix": "a b/+é&=~", "list-type": "2"}])
def test_a_request_is_signed_as_botocore_signs_it(path: str, query: dict[str, str], monkeypatch: Any) -> None:
    body_sha256 = hashlib.sha256(b"x").hexdigest()
    extra = {"if-none-match": "*", "x-amz-checksum-sha256": "abc=", "range": "bytes=0-  9"}
    request = Request("PUT", "b.s3.us-east-1.amazonaws.com", path, query, extra, body_sha256)
    ours = sign(request, KEY, "us-east-1", "s3", AT_S)

    theirs = botocore.awsrequest.AWSRequest("PUT", f"https://{request.host}{request.target}", headers=extra, data=b"x")
    theirs.context["payload_signing_enabled"] = True
    now = datetime.fromtimestamp(AT_S, UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: now)
    signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(*KEY[:3]), "s3", "us-east-1")
    signer.add_auth(theirs)
    assert ours["authorization"] == theirs.headers["Authorization"]


def test_an_object_is_written_read_listed_and_deleted_under_any_name(bucket: Bucket) -> None:
    names = ["a b+c/ü%2F~.txt", "a b+c/x&y=1?.txt", "a b+c/<&>'\"", "empty"]
    etags = {name: bucket.put(name, b"" if name == "empty" else name.encode()) for name in names}
    assert [bucket.get(name) for name in names[:3]] == [(name.encode(), etags[name]) for name in names[:3]]
    assert bucket.get("empty")[0] == b"" and bucket.get_part("empty", 0, 0) == b""
    assert {each.key: each.etag for each in bucket.list("")} == etags
    assert list(bucket.list_folders("")) == ["a b+c/"]
    assert bucket.get_part(names[0], 2, 3) == names[0].encode()[2:5]
    assert bucket.head(names[0]).size_bytes == len(names[0].encode())
    bucket.delete(names[0])
    for ask in (lambda: bucket.get(names[0]), lambda: bucket.head(names[0])):
        with pytest.raises(NotThereError):
            ask()


def test_the_age_of_an_object_is_by_the_clock_of_s3_and_never_more_than_it_is(bucket: Bucket, proxy: Proxy) -> None:
    bucket.put("claim", b"mine")
    proxy.ahead_s = 300
    try:
        assert bucket.get_aged("claim")[2] >= 298
    finally:
        proxy.ahead_s = 0
    said = {"last-modified": "Sat, 28 Nov 2026 10:00:00 GMT", "date": "Sat, 28 Nov 2026 10:01:00 GMT"}
    ages = [Answer(200, headers, b"").age_s for headers in (said, {**said, "date": "soon"}, {**said, "date": ""}, {})]
    assert ages == [59, 0, 0, 0]
    assert Answer(200, {"last-modified": said["date"], "date": said["last-modified"]}, b"").age_s == 0


def test_a_listing_of_many_pages_is_complete(bucket: Bucket) -> None:
    for number in range(7):
        bucket.put(f"k/{number}", b"x")
    few = {"prefix": "k/", "max-keys": "3"}
    assert len(list(bucket.list_pages(few))) == 3


def test_a_condition_that_does_not_hold_refuses_the_write(bucket: Bucket) -> None:
    first = bucket.put("claim", b"mine", absent=True)
    with pytest.raises(TakenError):
        bucket.put("claim", b"yours", absent=True)
    second = bucket.put("claim", b"mine still", match=first)
    with pytest.raises(TakenError):
        bucket.put("claim", b"yours", match=first)
    assert bucket.get("claim") == (b"mine still", second)


@pytest.mark.parametrize("condition", [{"absent": True}, {"match": "first"}])
def test_a_conditional_write_whose_answer_was_lost_counts_as_done(
    bucket: Bucket, proxy: Proxy, condition: dict[str, Any]
) -> None:
    if "match" in condition:
        condition = {"match": bucket.put("claim", b"first")}
    proxy.faults[:] = ["drop-after"]
    etag = bucket.put("claim", b"mine 1", **condition)
    assert bucket.get("claim") == (b"mine 1", etag)


def test_another_ones_object_is_never_taken_for_our_own(bucket: Bucket, proxy: Proxy) -> None:
    bucket.put("claim", b"yours")
    proxy.faults[:] = ["drop", "503 SlowDown 0"]
    with pytest.raises(TakenError):
        bucket.put("claim", b"mine", absent=True)


def test_busy_answers_lost_connections_wrong_clocks_and_expired_credentials_are_survived(
    bucket: Bucket, proxy: Proxy
) -> None:
    given = iter([KEY, KEY._replace(token="newer"), KEY._replace(token="never")])
    held = bucket._replace(wire=type(bucket.wire)(endpoint_of(proxy), "us-east-1", Kept(lambda: next(given)), 20))
    proxy.faults[:] = ["503 SlowDown 0", "500 InternalError 0", "drop", "403 RequestTimeTooSkewed 7200"]
    held.put("x", b"1")
    assert 7190 < held.wire.ahead_s < 7210
    proxy.faults[:] = ["400 ExpiredToken 0"]
    held.put("x", b"2")
    assert held.wire.credentials.get(time.time()).token == "newer"
    assert held.get("x")[0] == b"2"


def test_a_refusal_is_not_repeated_and_names_its_reason(bucket: Bucket, proxy: Proxy) -> None:
    proxy.faults[:] = ["403 AccessDenied 0"]
    with pytest.raises(S3Error, match="AccessDenied: told to"):
        bucket.put("x", b"1")
    with pytest.raises(NotThereError, match="NoSuchBucket"):
        bucket._replace(path="/no-such-bucket/").put("x", b"1")


def test_what_stays_busy_is_given_up_after_a_while(bucket: Bucket, proxy: Proxy) -> None:
    proxy.faults[:] = ["503 SlowDown 0"] * 50
    bucket.wire.patience_s = 0.5
    with pytest.raises(S3Error, match="SlowDown"):
        bucket.put("x", b"1")


@pytest.mark.parametrize("most", [5 << 30, 1])
def test_a_copy_that_fails_after_s3_has_answered_200_is_made_again(
    bucket: Bucket, proxy: Proxy, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "MOST_COPIED_BYTES", most)
    bucket.put("from", b"a model")
    failed = list[str]()

    def fail(method: str, path: str) -> str:
        if method == "PUT" and not failed:
            failed.append(path)
            return "200 InternalError 0"
        return ""

    proxy.rule = fail
    try:
        transfer.copy_object(bucket, "from", "to", 7)
    finally:
        proxy.rule = lambda method, path: ""
    assert (bucket.get("to")[0], len(failed)) == (b"a model", 1)


def endpoint_of(proxy: Proxy) -> str:
    return f"http://127.0.0.1:{proxy.server_address[1]}"


def open_file(path: Path, content: bytes) -> tuple[Slice, str]:
    path.write_bytes(content)
    return Slice(os.open(path, os.O_RDONLY), 0, len(content)), hashlib.sha256(content).hexdigest()


def test_a_large_file_arrives_in_parts_and_those_that_arrived_are_not_sent_again(
    bucket: Bucket, proxy: Proxy, tmp_path: Path
) -> None:
    part = 5 << 20
    content, sha256 = open_file(tmp_path / "big", bytes(part) + b"x" * part + b"the end")
    uploads = Uploads(bucket, tmp_path / "uploads.json", part)
    bucket.wire.patience_s = 0
    proxy.faults[:] = ["", "", "", "503 SlowDown 0"]  # of four requests: the start, and three parts
    with pytest.raises(S3Error):
        uploads.put("big", content, sha256)
    assert not list(bucket.list(""))  # nothing under its final name before all of it is there
    proxy.seen.clear()
    uploads.put("big", content, sha256)
    assert sum("partNumber" in line for line in proxy.seen) == 1
    assert bucket.head("big").size_bytes == content.size_bytes
    assert bucket.get_part("big", part - 1, 2) == b"\0x" and bucket.get_part("big", 2 * part, 7) == b"the end"
    assert (tmp_path / "uploads.json").read_text() == "{}"


@pytest.mark.parametrize("part", [5 << 20, 50 << 20])
def test_a_file_that_changed_since_it_was_hashed_is_not_uploaded(bucket: Bucket, tmp_path: Path, part: int) -> None:
    content, sha256 = open_file(tmp_path / "changing", b"a" * (6 << 20))
    uploads = Uploads(bucket, tmp_path / "uploads.json", part)
    with (tmp_path / "changing").open("r+b") as file:
        if part > content.size_bytes:
            file.truncate(1 << 20)
        else:
            file.write(b"b")
    with pytest.raises(ChangedError):
        uploads.put("changing", content, sha256)
    assert not list(bucket.list(""))


def test_the_role_of_the_machine_gives_credentials_until_shortly_before_they_expire(monkeypatch: Any) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    asked = []

    class Metadata(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.answer(b"session")

        def do_GET(self) -> None:
            asked.append(self.path)
            assert self.headers["X-aws-ec2-metadata-token"] == "session"
            end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT_S + 3600))
            found = f'{{"AccessKeyId": "A", "SecretAccessKey": "S", "Token": "T{len(asked)}", "Expiration": "{end}"}}'
            self.answer(b"our-role" if self.path.endswith("/") else found.encode())

        def answer(self, body: bytes) -> None:
            self.send_response_only(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}/")
    try:
        kept = Kept(read_credentials)
        first = kept.get(AT_S)
        assert first == Credentials("A", "S", "T2", AT_S + 3600) == kept.get(AT_S + 2900)
        assert kept.get(AT_S + 3100).token == "T4"
    finally:
        server.shutdown()
        server.server_close()
    assert kept.get(AT_S + 3500).token == "T4"  # still valid, so that a silent service matters only later
    with pytest.raises(NoCredentialsError):
        kept.get(AT_S + 3601)
