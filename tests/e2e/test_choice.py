"""Which cluster a command means, and what it says where it finds none."""

from tests.conftest import Laptop


def in_another_folder(laptop: Laptop, name: str) -> Laptop:
    """The same laptop, in another project."""
    folder = laptop.project.parent / name
    folder.mkdir()
    return Laptop(laptop.home, folder, laptop.settings)


def test_what_ends_a_cluster_means_the_folder_s_own_and_never_the_only_one_there_is(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    other = in_another_folder(laptop, "other")
    stop = other.type("stop")
    assert (stop.code, "no cluster 'other'; known clusters: project" in stop.err) == (1, True), stop.said
    for words in (["down"], ["down", "--dry-run", "--force"]):
        refused = other.type(*words)
        assert refused.code == 1, refused.said
        assert "no cluster 'other' on the local cloud. Existing clusters: project (running, " in refused.err
        assert "next: gpujob down project\n" in refused.err
    assert other.type("run", "--", "true").code == 0
    assert "no job 9\n  next: gpujob jobs --cluster project\n" in other.type("logs", "9").err
    wrong = other.type("ssh", "nowhere")
    assert (wrong.code, "gpujob up" in wrong.err) == (1, False)
    assert "no cluster 'nowhere'; known clusters: project\n  next: gpujob ls" in wrong.err
    assert "did you mean project?" in other.type("ssh", "projct").err
    assert other.type("down", "nowhere").code == 1

    assert "Resume: gpujob start project   Terminate: gpujob down project" in other.type("stop", "project").err
    assert "next: gpujob run --cluster project SCRIPT" in other.type("start").err


def test_an_up_that_was_broken_off_is_told_of_by_every_command(laptop):
    laptop.type("check", "--dry-run")  # starts the local cloud
    process = laptop.start("up", "begun", "--dry-run")
    while b"waiting for the machine" not in process.stderr.readline():
        pass
    process.kill()
    process.communicate()
    for words in (["run", "--", "true"], ["ssh", "begun"], ["jobs", "--cluster", "begun"], ["stop", "begun"]):
        refused = laptop.type(*words)
        assert refused.code == 1, refused.said
        assert "the launch of 'begun' is not finished" in refused.err
        assert "next: rerun the same gpujob up begun to resume it, or terminate it: gpujob down begun" in refused.err
    assert "Existing clusters: begun (" in laptop.type("down").err
    assert "next: gpujob down begun\n" in laptop.type("down").err
    assert laptop.type("up", "begun", "--dry-run").code == 0
    assert laptop.type("run", "--", "true").code == 0
