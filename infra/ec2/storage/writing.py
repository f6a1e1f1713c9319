"""Write objects to a bucket, each verified by S3 with its SHA-256."""

import base64
import hashlib
from typing import BinaryIO

from infra.ec2.errors import aws_errors
from infra.ec2.storage.objects import CHUNK_BYTES, Store


def put_object(store: Store, key: str, content: bytes) -> None:
    """Write an object; raises CloudError."""
    checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
    with aws_errors():
        store.account.s3.put_object(**store.target, Key=key, Body=content, ChecksumSHA256=checksum)


def put_file(store: Store, key: str, file: BinaryIO) -> dict[str, int | str]:
    """Write a file of any size to an object, from its beginning; return its `size_bytes` and `sha256`."""
    file.seek(0)
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
        digest.update(chunk)
        size_bytes += len(chunk)
    file.seek(0)
    more = {"ChecksumAlgorithm": "SHA256", "ExpectedBucketOwner": store.target["ExpectedBucketOwner"]}
    with aws_errors():
        store.account.s3.upload_fileobj(file, store.bucket, key, ExtraArgs=more)
    return {"size_bytes": size_bytes, "sha256": digest.hexdigest()}
