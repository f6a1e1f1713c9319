"""The objects of a bucket, which has to belong to the caller's account."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.errors import CloudError, NotFoundError

MISSING = ("NoSuchKey", "NoSuchBucket", "404")
CHUNK_BYTES = 1 << 20
MOST_BYTES = 1 << 30  # of a manifest: two million outputs
PAGE = 1000  # objects that one request deletes


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing describes it."""

    key: str
    size_bytes: int
    modified_at: float


@dataclass(frozen=True)
class Store:
    """A bucket in an account's region."""

    account: Account
    bucket: str

    @property
    def target(self) -> dict[str, Any]:
        """The parameters of every call: S3 refuses a bucket of another account."""
        return {"Bucket": self.bucket, "ExpectedBucketOwner": self.account.identity.account_id}

    def get(self, key: str) -> bytes:
        """Return an object; raises NotFoundError, and CloudError if it is too large for a record."""
        with aws_errors():
            try:
                found = self.account.s3.get_object(**self.target, Key=key)
            except ClientError as error:
                raise self.missing(key, error) from error
            if found["ContentLength"] > MOST_BYTES:
                raise CloudError(f"{key} in the bucket {self.bucket} is too large", f"gpujob bucket ls {self.bucket}")
            content: bytes = found["Body"].read(MOST_BYTES)
        return content

    def read(self, key: str, start: int, size_bytes: int) -> Iterator[bytes]:
        """Yield bytes of an object; raises NotFoundError."""
        if not size_bytes:
            return
        area = f"bytes={start}-{start + size_bytes - 1}"
        with aws_errors():
            try:
                body = self.account.s3.get_object(**self.target, Key=key, Range=area)["Body"]
            except ClientError as error:
                raise self.missing(key, error) from error
            yield from iter(lambda: body.read(CHUNK_BYTES), b"")

    def missing(self, key: str, error: ClientError) -> Exception:
        """Return the error for an object that does not exist; any other unchanged."""
        if code_of(error) == "NoSuchKey" or (code_of(error) == "404" and key):
            return NotFoundError(f"the bucket {self.bucket} has no {key}", f"gpujob bucket ls {self.bucket}")
        return error

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose keys start with a prefix."""
        for page in self.pages(Prefix=prefix):
            for one in page.get("Contents", ()):
                yield StoredObject(one["Key"], one["Size"], one["LastModified"].timestamp())

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield each prefix up to the next slash after this one."""
        for page in self.pages(Prefix=prefix, Delimiter="/"):
            for one in page.get("CommonPrefixes", ()):
                yield one["Prefix"]

    def pages(self, **words: str) -> Iterator[Any]:
        """Yield the pages of a listing."""
        with aws_errors():
            yield from self.account.s3.get_paginator("list_objects_v2").paginate(**self.target, **words)

    def delete_unused(self, prefix: str) -> None:
        """Delete the objects of a sent job on which no machine has begun to work; raises CloudError."""
        keys = [one.key for one in self.list(prefix)]
        if not any(key.startswith((f"{prefix}boots/", f"{prefix}tasks/")) for key in keys):
            self.delete(keys)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; raises CloudError if one remains."""
        for start in range(0, len(keys), PAGE):
            asked = {"Objects": [{"Key": key} for key in keys[start : start + PAGE]], "Quiet": True}
            with aws_errors():
                failed = self.account.s3.delete_objects(**self.target, Delete=asked).get("Errors", ())
            for each in failed:
                raise CloudError(f"cannot delete {each['Key']}: {each.get('Message')}", "gpujob policy")
