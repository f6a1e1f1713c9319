"""Random histories of images: what `images` says that they cost, beside EC2's bill worked out a second way."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.ec2.account import Account, Identity
from infra.ec2.machines import own_images
from infra.ec2.tags import IMAGE_TAG
from tests.ledger.billing import Snapshot

ME = Identity("123456789012", "arn:aws:iam::123456789012:user/me", "AIDAME")
HOUR_S, MONTH_S = 3600, 730 * 3600
NAMES = ("first", "second", "third")


@dataclass
class Ec2:
    """As much of EC2 as images ask, and the bill that it writes."""

    now: int = 0
    images: dict[str, str] = field(default_factory=dict)
    """The snapshot of each image that is registered, by id."""
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def bake(self, name: str, volume_gib: int, used: float, changed: float) -> None:
        """Make an image of a disk; only what changed since an earlier one of it is stored again."""
        number = len(self.snapshots)
        stored = volume_gib * used
        billed = stored if number == 0 else stored * changed
        made = Snapshot(f"snap-{number}", volume_gib, stored, billed, self.now)
        self.snapshots[made.id], self.images[f"ami-{number}"], self.names[made.id] = made, made.id, name

    def bill(self, since: int) -> float:
        """Return what all snapshots cost from a time until now."""
        return sum(one.usd(since, self.now) for one in self.snapshots.values())

    def tags_of(self, snapshot: str) -> list[dict[str, str]]:
        tags = {IMAGE_TAG: self.names[snapshot], **ME.tags}
        return [{"Key": key, "Value": value} for key, value in tags.items()]

    def describe_images(self, **_: object) -> dict[str, Any]:
        found = self.images.items()
        return {"Images": [{"ImageId": i, "State": "available", "Tags": self.tags_of(s)} for i, s in found]}

    def get_paginator(self, _: str) -> Any:
        return SimpleNamespace(paginate=lambda **_: [{"Snapshots": list(self.describe())}])

    def describe(self) -> Iterator[dict[str, Any]]:
        for one in self.snapshots.values():
            if one.gone_at is None:
                full = {"FullSnapshotSizeInBytes": int(one.stored_gib * 2**30)} if one.complete else {}
                yield {"SnapshotId": one.id, "VolumeSize": one.volume_gib, "Tags": self.tags_of(one.id), **full}

    def deregister_image(self, *, ImageId: str) -> None:  # noqa: N803  the name is AWS's
        self.images.pop(ImageId)

    def delete_snapshot(self, *, SnapshotId: str) -> None:  # noqa: N803  the name is AWS's
        assert SnapshotId not in self.images.values(), "EC2 refuses while an image uses it"
        self.snapshots[SnapshotId].gone_at = self.now


steps = st.lists(
    st.one_of(
        st.tuples(st.just("bake"), st.sampled_from(NAMES), st.integers(8, 500), st.floats(0.01, 1), st.floats(0.01, 1)),
        st.tuples(st.just("complete")),
        st.tuples(st.just("deregister")),
        st.tuples(st.just("rm"), st.sampled_from(NAMES)),
        st.tuples(st.just("wait"), st.integers(1, 2000)),
    ),
    max_size=25,
)


def take(ec2: Ec2, account: Account, step: tuple[Any, ...]) -> None:
    """Do one step of a history; a name that is taken is not baked again, as `bake` refuses it."""
    match step:
        case "bake", name, volume_gib, used, changed:
            if name not in {ec2.names[one.id] for one in ec2.snapshots.values() if one.gone_at is None}:
                ec2.bake(name, volume_gib, used, changed)
        case ("complete",):
            for one in ec2.snapshots.values():
                one.complete = True
        case ("deregister",):
            ec2.images.clear()  # by somebody else: the snapshots are left, and cost on
        case "rm", name:
            for image in own_images.list_baked(account, name):
                if image.name == name:
                    own_images.remove(account, image)
        case "wait", hours:
            ec2.now += hours * HOUR_S


@given(steps)
@settings(deadline=None, max_examples=50)
def test_images_never_cost_more_than_is_said_and_exactly_that_once_ec2_tells_what_is_stored(history):
    ec2 = Ec2()
    account = cast(Account, SimpleNamespace(ec2=ec2, cloud="aws", region="us-east-1", identity=ME))
    for step in [*history, *(("rm", name) for name in NAMES), ("wait", 1)]:
        listed = own_images.list_baked(account)
        since, said_usd = ec2.now, sum(one.month_usd for one in listed)
        take(ec2, account, step)
        said, billed = said_usd * (ec2.now - since) / MONTH_S, ec2.bill(since)
        assert billed <= said + 1e-6
        alive = [one for one in ec2.snapshots.values() if one.gone_at is None]
        if all(one.complete and one.billed_gib == one.stored_gib for one in alive):
            assert abs(said - billed) <= 1e-6
        assert {snapshot for one in own_images.list_baked(account) for snapshot in one.snapshots} == {
            one.id for one in alive
        }
    assert own_images.list_baked(account) == []
    before = ec2.now
    ec2.now += 1000 * HOUR_S
    assert ec2.bill(before) == 0, "nothing is billed after the removal"
