from __future__ import annotations


def test_what_comes_next_is_said(run_lisa, tmp_path) -> None:
    result = run_lisa("plugins", "new", "echo", "--dir", "mine")
    assert result.returncode == 0 and not result.stderr
    assert (tmp_path / "mine" / "lisa_echo" / "pyproject.toml").exists()
    for line in ("  pip install -e 'mine/lisa_echo[test]'", "  lisa plugins check echo"):
        assert line in result.stdout.splitlines()


def test_a_mistake_is_one_line(run_lisa) -> None:
    for args, line in ((("Echo",), "cannot be a family's name"), (("llava",), "a family 'llava' already")):
        result = run_lisa("plugins", "new", *args)
        assert result.returncode == 2 and line in result.stderr and len(result.stderr.splitlines()) == 1
