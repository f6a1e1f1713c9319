"""Buckets for jobs: found, made, checked. The name comes from the user, never from a machine."""

import json
from typing import Any

from botocore.exceptions import ClientError

from infra.base.waiting import wait_until
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.policy import make_document
from infra.ec2.tags import BUCKET_TAG
from infra.errors import CloudError, NotFoundError, ThrottledError, UsageError

AUTO = "auto"
KEPT_DAYS, PARTS_DAYS = 90, 2
# A new bucket is not known everywhere at once, and two computers may make it:
# https://github.com/hashicorp/terraform-provider-aws/issues/7628
SETTLING_S = 20
TLS_ONLY = {"Bool": {"aws:SecureTransport": "false"}}


def name_bucket(account: Account, asked: str) -> str:
    """Return the name of a bucket; `auto` is the account's own in its region."""
    return f"gpujob-{account.identity.account_id}-{account.region}" if asked == AUTO else asked


def ready_bucket(account: Account, asked: str) -> str:
    """Return the name of a bucket that machines may upload to, after making the account's own if needed.

    Raises NotFoundError for another one that does not exist, and CloudError for one of another account or region.
    """
    name = name_bucket(account, asked)
    try:
        check_place(account, name)
        if asked != AUTO or is_marked(account, name):
            return name
    except NotFoundError:
        if asked != AUTO:
            raise
        make = create
    else:
        make = configure
    wait_until(lambda: make(account, name), SETTLING_S, retry_on=(NotFoundError, ThrottledError))
    return name


def check_place(account: Account, name: str) -> None:
    """Raise NotFoundError for a missing bucket, GpujobError for one of another account or region."""
    with aws_errors():
        try:
            found = account.s3.head_bucket(Bucket=name, ExpectedBucketOwner=account.identity.account_id)
        except ClientError as error:
            raise explain(account, name, error) from error
    region = found.get("BucketRegion") or found["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "")
    check_region(account, name, region or account.region)


def check_region(account: Account, name: str, region: str) -> None:
    """Raise UsageError for a bucket in another region than its machines: AWS bills what crosses regions."""
    if region != account.region:
        raise explain_region(account, name, region)


def explain_region(account: Account, name: str, region: str) -> UsageError:
    """Return the error for a bucket in another region than its machines."""
    return UsageError(f"the bucket {name} is in {region}, but the machine in {account.region}", f"--region {region}")


def explain(account: Account, name: str, error: ClientError) -> Exception:
    """Return the error for a bucket that does not answer; S3 gives no reason, only a status."""
    code, headers = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if code in ("404", "NoSuchBucket"):
        return NotFoundError(f"no bucket {name}", "use --bucket auto, which makes one")
    if code in ("301", "PermanentRedirect", "400"):
        return explain_region(account, name, headers.get("x-amz-bucket-region", "another region"))
    if code in ("403", "AccessDenied"):
        what = f"the bucket {name} is another account's, or the credentials do not allow s3:ListBucket"
        return CloudError(what, "use another --bucket, or ask your AWS administrator for: gpujob policy --buckets")
    return error


def is_marked(account: Account, name: str) -> bool:
    """Return whether gpujob has made a bucket, with all of its settings."""
    with aws_errors():
        try:
            tags = account.s3.get_bucket_tagging(**owned(account, name))["TagSet"]
        except ClientError as error:
            if code_of(error) == "NoSuchTagSet":
                return False
            raise
    return any(tag["Key"] == BUCKET_TAG for tag in tags)


def create(account: Account, name: str) -> bool:
    """Create a bucket, which may exist by now, with all of its settings; return True.

    Its objects belong to the bucket's account, as in every new bucket since 2023; asking for that needs one more permission:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    """
    place = {"LocationConstraint": account.region}
    more: dict[str, Any] = {"CreateBucketConfiguration": place} if account.region != "us-east-1" else {}
    with aws_errors():
        try:
            account.s3.create_bucket(Bucket=name, **more)
        except ClientError as error:
            if code_of(error) == "BucketAlreadyExists":
                raise CloudError(f"the name {name} is taken by another account", "use another --bucket") from error
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise
    return configure(account, name)


def configure(account: Account, name: str) -> bool:
    """Make a bucket private, encrypted, reachable by TLS only; let it remove what is old; return True.

    The tag is last: without it, the settings are made again.
    """
    s3, where = account.s3, owned(account, name)
    blocked = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    encrypted = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    arn = f"arn:{account.identity.partition}:s3:::{name}"
    resources = [arn, f"{arn}/*"]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": resources, "Condition": TLS_ONLY}
    with aws_errors():
        s3.put_public_access_block(**where, PublicAccessBlockConfiguration=dict.fromkeys(blocked, True))
        s3.put_bucket_encryption(**where, ServerSideEncryptionConfiguration=encrypted)
        if not account.is_local:
            s3.put_bucket_policy(**where, Policy=json.dumps(make_document(deny)))
        s3.put_bucket_lifecycle_configuration(**where, LifecycleConfiguration={"Rules": make_rules()})
        s3.put_bucket_tagging(**where, Tagging={"TagSet": [{"Key": BUCKET_TAG, "Value": "yes"}]})
    return True


def make_rules() -> list[dict[str, Any]]:
    """Return the lifecycle rules: incomplete uploads go after days, results after months."""
    common: dict[str, Any] = {"Status": "Enabled", "Filter": {"Prefix": ""}}
    return [
        {**common, "ID": "gpujob-parts", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": PARTS_DAYS}},
        {**common, "ID": "gpujob-results", "Expiration": {"Days": KEPT_DAYS}},
    ]


def owned(account: Account, name: str) -> dict[str, Any]:
    """Return the parameters that name a bucket, which has to be this account's."""
    return {"Bucket": name, "ExpectedBucketOwner": account.identity.account_id}
