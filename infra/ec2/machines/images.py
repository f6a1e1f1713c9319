"""Find the AMI that a node boots."""

from dataclasses import dataclass, replace
from typing import Literal

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.machines.own_images import list_baked
from infra.errors import CloudError, NotFoundError
from infra.model import LOGIN_USER

Kind = Literal["dlami", "ubuntu", "baked", "other"]
# GetParameters accepts ten names per call, so one call finds the newest of ten releases.
# Names: https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
DLAMI = tuple(
    f"/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.{minor}-ubuntu-24.04/latest/ami-id"
    for minor in range(16, 6, -1)
)
# Without a GPU driver: https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
UBUNTU = ("/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",)
AMAZON = tuple(name.replace("ubuntu-24.04", "amazon-linux-2023") for name in DLAMI)
PUBLISHED = {"dlami": DLAMI, "dlami-al2023": AMAZON, "ubuntu": UBUNTU}
KINDS: dict[str, Kind] = {"dlami": "dlami", "ubuntu": "ubuntu"}


@dataclass(frozen=True)
class Image:
    """The AMI that a node boots."""

    image_id: str
    name: str
    root_device: str
    least_gib: int = 0
    """The size of its disk; a node's cannot be smaller."""
    kind: Kind = "other"
    """Its origin: AWS's Deep Learning image, plain Ubuntu, made by `bake`, or unknown."""

    @property
    def is_amazon_linux(self) -> bool:
        """Whether it is Amazon Linux by its name; the playbook is for Debian and Ubuntu only."""
        return "Amazon Linux" in self.name or self.name.startswith("al2023-ami-")

    @property
    def user(self) -> str:
        """The login user, by its name."""
        return "ec2-user" if self.is_amazon_linux else LOGIN_USER


def find_image(account: Account, wanted: str = "dlami") -> Image:
    """Find an image: the newest of "dlami", "dlami-al2023" or "ubuntu", or one by id or name.

    `bake` reserves these names. Raises NotFoundError if there is none, or if a name matches several.
    """
    if wanted in PUBLISHED:
        found = describe(account, find_published(account, PUBLISHED[wanted], wanted))
        return replace(found, kind=KINDS.get(wanted, "other"))
    if wanted.startswith("ami-"):
        return describe(account, wanted)
    if set(wanted) & set("*?\\"):
        raise NotFoundError(
            f"'{wanted}' could match several images", "use --image dlami, ubuntu, ami-... or a full name"
        )
    return find_baked(account, wanted) or find_named(account, wanted)


def find_baked(account: Account, name: str) -> Image | None:
    """Return the baked image of a name, preferably the caller's; None if there is none."""
    found = [image for image in list_baked(account, name) if image.image_id]
    if not found:
        return None
    image = min(found, key=lambda one: not account.identity.is_owner(one.owner))
    if image.state != "available":
        raise NotFoundError(f"image '{name}' is {image.state} ({image.percent}%)", "gpujob images")
    return replace(describe(account, image.image_id), name=f"{name}, from '{image.cluster}'", kind="baked")


def find_named(account: Account, wanted: str) -> Image:
    """Return the account's or Amazon's image with this name in AWS."""
    with aws_errors():
        images = account.ec2.describe_images(Owners=["self", "amazon"], Filters=[{"Name": "name", "Values": [wanted]}])[
            "Images"
        ]
    if len(images) != 1:
        what = "no image" if not images else f"{len(images)} images"
        raise NotFoundError(
            f"the account and Amazon have {what} named '{wanted}' in {account.region}",
            "use --image dlami, ubuntu, ami-... or a name from: gpujob images",
        )
    return describe(account, images[0]["ImageId"])


def find_published(account: Account, names: tuple[str, ...], wanted: str) -> str:
    """Return the image id in the first of these public parameters that exists."""
    with aws_errors():
        answer = account.ssm.get_parameters(Names=list(names))
    found = {parameter["Name"]: parameter["Value"] for parameter in answer["Parameters"]}
    image_id = next((found[name] for name in names if name in found), None)
    if image_id is None:
        raise CloudError(f"no '{wanted}' image is published in {account.region}", "try --region us-east-1")
    return image_id


def describe(account: Account, image_id: str) -> Image:
    """Look up an image in EC2; raises NotFoundError if it is not visible or a node cannot boot it."""
    with aws_errors():
        images = account.ec2.describe_images(ImageIds=[image_id])["Images"]
    if not images:
        raise NotFoundError(f"image {image_id} not found in {account.region}", "try another --image or --region")
    image = images[0]
    if image.get("Architecture") != "x86_64" or image.get("RootDeviceType") != "ebs":
        raise NotFoundError(f"{image_id} is not an x86_64 image on EBS", "use --image dlami, ubuntu, or another")
    root = image.get("RootDeviceName", "/dev/sda1")
    sizes = [
        m["Ebs"].get("VolumeSize", 0)
        for m in image.get("BlockDeviceMappings", [])
        if m.get("DeviceName") == root and "Ebs" in m
    ]
    return Image(image_id, image.get("Name", image_id), root, max(sizes, default=0))
