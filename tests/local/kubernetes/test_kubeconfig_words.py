"""What is wrong with a kubeconfig is said in words that lead to the place, and several files are one as for kubectl."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainmaster.adapters.kubernetes.connection import ConnectionFailedError, load_connection

CLUSTER = "clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443', certificate-authority: ca.crt}}]\n"
USER = "users: [{name: u, user: {token: secret}}]\n"
CONTEXT = "contexts: [{name: here, context: {cluster: c, user: u}}]\n"
WHOLE = f"current-context: here\n{CONTEXT}{CLUSTER}{USER}"


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            WHOLE.replace("current-context: here", "current-context: other"),
            "its current-context is 'other', which is not among its contexts: here",
            id="wrong context",
        ),
        pytest.param(
            WHOLE.replace("cluster: c,", "cluster: d,"), "'d', which is not among its clusters: c", id="cluster"
        ),
        pytest.param(WHOLE.replace("user: u}", "user: v}"), "'v', which is not among its users: u", id="user"),
        pytest.param(CONTEXT + CLUSTER + USER, "it names no current-context: kubectl config use-context", id="none"),
        pytest.param("a: [\nb", "line 2, column 2: ", id="broken YAML"),
        pytest.param("word", "it is no mapping", id="a word"),
        pytest.param("contexts: 7", "its contexts are no list of things with a name", id="a number"),
        pytest.param("users: [{user: {}}]", "its users are no list of things with a name", id="no name"),
        pytest.param(WHOLE.replace("cluster: {server", "cluster: {sever"), "cluster 'c' has no server", id="no server"),
    ],
)
def test_what_is_wrong_is_said_in_words(kubeconfig: Path, text: str, words: str) -> None:
    kubeconfig.write_text(text)

    with pytest.raises(ConnectionFailedError) as caught:
        load_connection()
    said = str(caught.value)
    assert str(kubeconfig) in said
    assert words in said
    assert "Error(" not in said
    assert " at 0x" not in said
    assert "\n" not in said


def test_files_that_are_not_there_are_skipped_and_the_first_word_counts(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "folder" / "other"
    other.parent.mkdir()
    kubeconfig.write_text("current-context: here\n" + CONTEXT)
    other.write_text("current-context: there\n" + CLUSTER + USER)
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(("", str(tmp_path / "none"), str(kubeconfig), str(other))))
    connection = load_connection()

    assert connection.server == "https://10.0.0.1:6443"
    assert connection.headers() == {"Authorization": "Bearer secret"}
    assert connection.info.ca_path == str(other.parent / "ca.crt"), "as the file means it"


def test_where_none_of_them_is_there_all_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}")

    with pytest.raises(ConnectionFailedError, match=r"there is no file .*/a.* and no file .*/b"):
        load_connection()
