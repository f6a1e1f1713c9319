"""The token of a notebook: whatever lies where it should, what JupyterLab is told is a secret of the user's own."""

import pytest

from infra.node.agent.pages import notebook

KNOWN = "a-token-that-somebody-else-knows-well"


def known(path):
    path.write_text(KNOWN)
    path.chmod(0o644)


def garbage(path):
    path.write_bytes(b"\0\n short")
    path.chmod(0o600)


def link(path):
    path.with_name("elsewhere").write_text(KNOWN)
    path.with_name("elsewhere").chmod(0o600)
    path.symlink_to(path.with_name("elsewhere"))


def folder(path):
    (path / "inside").mkdir(parents=True)


@pytest.mark.parametrize("lay", [None, known, garbage, link, folder])
def test_what_is_no_secret_is_replaced_and_what_is_one_stays(tmp_path, monkeypatch, lay):
    token = tmp_path / "notebook.token"
    monkeypatch.setattr(notebook, "TOKEN", token)
    if lay:
        lay(token)
    notebook.keep_token()
    kept = token.read_text()
    assert len(kept) >= 32
    assert kept != KNOWN
    assert (token.is_symlink(), token.stat().st_mode & 0o777) == (False, 0o600)
    notebook.keep_token()
    assert token.read_text() == kept
