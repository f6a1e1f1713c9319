"""Requests to S3: which action each is, on what, and whether its body is what its hashes say."""

import base64
import hashlib
import sys
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree

from moto.core.models import DEFAULT_ACCOUNT_ID

from infra.local.cloud.answers import Answer, error
from infra.local.cloud.request import Environ, read_body

# Of requests about a bucket, by method and the first word of the query; the others are about objects.
ON_BUCKET = {
    ("GET", ""): "ListBucket",
    ("HEAD", ""): "ListBucket",
    ("PUT", ""): "CreateBucket",
    ("DELETE", ""): "DeleteBucket",
    ("POST", "delete"): "DeleteObject",
    ("GET", "tagging"): "GetBucketTagging",
    ("PUT", "tagging"): "PutBucketTagging",
    ("PUT", "lifecycle"): "PutLifecycleConfiguration",
    ("PUT", "encryption"): "PutEncryptionConfiguration",
    ("PUT", "policy"): "PutBucketPolicy",
    ("PUT", "publicAccessBlock"): "PutBucketPublicAccessBlock",
}
ON_OBJECT = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject", "DELETE": "DeleteObject"}


def name_action(environ: Environ) -> tuple[str, list[str]]:
    """Return the permission's action that a request to S3 needs, and the ARNs that it is about."""
    path = unquote(str(environ.get("PATH_INFO", ""))).strip("/")
    bucket, _, key = path.partition("/")
    query = parse_qs(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)
    method, arn = str(environ["REQUEST_METHOD"]), f"arn:aws:s3:::{path}" if path else "*"
    if not bucket:
        return "ListAllMyBuckets", ["*"]
    if not key:
        word = next((word for (_, word) in ON_BUCKET if word and word in query), "")
        action = ON_BUCKET.get((method, word), "ListBucket")
        return action, [f"{arn}/{key}" for key in read_keys(environ)] if action == "DeleteObject" else [arn]
    if "uploadId" in query and method in ("GET", "DELETE"):
        return ("ListMultipartUploadParts" if method == "GET" else "AbortMultipartUpload"), [arn]
    return ON_OBJECT.get(method, "GetObject"), [arn]


def name_more(environ: Environ) -> dict[str, str]:
    """Return the other actions that a request to S3 needs, each with the ARN that it is about.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    """
    bucket = unquote(str(environ.get("PATH_INFO", ""))).strip("/").partition("/")[0]
    source = unquote(str(environ.get("HTTP_X_AMZ_COPY_SOURCE", ""))).strip("/")
    more = {"GetObject": f"arn:aws:s3:::{source}"} if source else {}
    owned = "HTTP_X_AMZ_OBJECT_OWNERSHIP" in environ
    return more | ({"PutBucketOwnershipControls": f"arn:aws:s3:::{bucket}"} if owned else {})


def read_keys(environ: Environ) -> list[str]:
    """Return the keys that a request for several objects names; each needs the permission."""
    try:
        tree = ElementTree.fromstring(read_body(environ))  # noqa: S314 - only our own programs ask
    except ElementTree.ParseError:
        return ["*"]
    return [one.text or "" for one in tree.iter() if one.tag.rpartition("}")[2] == "Key"] or ["*"]


def check_body(environ: Environ) -> Answer | None:
    """Return S3's refusal of a body that is not what its hashes say; moto accepts any."""
    asked, signed = (environ.get(f"HTTP_X_AMZ_{name}", "") for name in ("CHECKSUM_SHA256", "CONTENT_SHA256"))
    if environ.get("REQUEST_METHOD") not in ("PUT", "POST") or not (asked or len(signed) == 64):
        return None
    digest = hashlib.sha256(read_body(environ))
    if len(signed) == 64 and digest.hexdigest() != signed:
        what = "The provided 'x-amz-content-sha256' header does not match what was computed."
        return error("s3", "XAmzContentSHA256Mismatch", what)
    if asked and base64.b64encode(digest.digest()).decode() != asked:
        return error("s3", "BadDigest", "The SHA256 you specified did not match the calculated checksum.")
    return None


def has_objects() -> bool:
    """Return whether a bucket has objects: a job may be read from it after its machine."""
    models = sys.modules.get("moto.s3.models")  # moto imports it with the first request to S3, in another thread
    found = getattr(models, "s3_backends", None)
    backends = found[DEFAULT_ACCOUNT_ID].values() if found is not None else ()
    return any(bucket.keys for backend in list(backends) for bucket in list(backend.buckets.values()))
