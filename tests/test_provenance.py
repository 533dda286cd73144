from __future__ import annotations

import subprocess
from pathlib import Path

from lisa_core.provenance import git_state, revision


def test_a_revision_is_the_commit_and_whether_there_are_changes(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        return subprocess.check_output(["git", *who, *arguments], cwd=tmp_path, text=True).strip()

    assert git_state(tmp_path) is None and revision(tmp_path) == "unknown"
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert revision(tmp_path) == commit[:7]
    (tmp_path / "file").write_text("two")
    assert revision(tmp_path) == f"{commit[:7]} with changes"
