"""A job that another computer has sent, which this one finds by its name."""

from dataclasses import replace

import pytest

from infra.cluster import groups
from infra.ec2.account import open_local
from infra.ledger import known_clusters
from tests.cli.test_status import STUD
from tests.here import move_in

HOME = open_local("http://nowhere", "key")


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (("us-east-1", "eu-west-1"), "us-east-1"),  # this computer's own region
        (("eu-west-1",), "eu-west-1"),
        (("eu-west-1", "eu-west-2"), None),
        ((), None),
    ],
)
def test_it_is_found_in_any_region_unless_several_others_have_one(tmp_path, monkeypatch, there, found):
    move_in(tmp_path, monkeypatch)
    everywhere = ("us-east-1", "eu-west-1", "eu-west-2")
    monkeypatch.setattr(
        groups,
        "open_all",
        lambda *_, **words: [HOME.in_region(one) for one in (everywhere if words["everywhere"] else everywhere[:1])],
    )
    sent = replace(STUD, cloud="local", token="t")
    monkeypatch.setattr(
        groups, "find_sent", lambda one, _: replace(sent, region=one.region) if one.region in there else None
    )
    adopted = groups.adopt("stud", dry_run=True)
    assert (adopted and adopted.region) == found
    assert known_clusters.recall("stud") == adopted
