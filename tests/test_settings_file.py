"""What a file of settings may hold, and what is wrong with another one, in a line that names it."""

from __future__ import annotations

import pytest

from lisa_core.errors import ConfigError
from lisa_core.settings_file import read_settings


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("batchsize: 3", "batchsize is no setting, did you mean batch_size?"),
        ("model: {batch_size: 3}", "batch_size belongs to the section data, not model"),
        ("batch_size: 3\ndata: {batch_size: 4}", "batch_size is given twice"),
        ("batch_size: 3\nbatch_size: 4", "batch_size is given twice"),
        ("- 1", "must hold settings by name, not a list"),
        ("a: &x [1]\nb: *x", "references"),
        ("{" * 1000, "cannot be read"),
        pytest.param("{" * 5000, "cannot be read", marks=pytest.mark.slow),  # PyYAML takes seconds to give up
        ("a: !!python/object/apply:os.system ['true']", "cannot be read"),
        ("3: 4", "the name 3 is no text"),
        ("a: [", "cannot be read"),
        ("model: smolvlm", "model is a section: write its settings below it"),
    ],
)
def test_what_is_no_config_is_one_line_that_names_the_file(tmp_path, content, said):
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_settings(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("extends: run.yaml", "it extends run.yaml, which extends it"),
        ("extends: other.yaml", "it extends run.yaml, which extends it"),
        ("extends: absent.yaml", "no file 'absent.yaml' to extend: give its path"),
        ("extends: others.yml", "no file 'others.yml' to extend: did you mean other.yaml?"),
        ("extends: .", "no file '.' to extend"),
        ("extends: ~nobody_of_that_name/x.yaml", "to extend: give its path"),
        (f"extends: {'x' * 300}", "to extend: give its path"),
        ("extends: [a, b]", "extends must be the path of one config file, not ['a', 'b']"),
        ("extends:", "extends must be the path of one config file, not None"),
        ("extend: other.yaml", "extend is no setting, did you mean extends?"),
        ("Extends: other.yaml", "extends is written so, and outside of the sections"),
        ("model: {extends: other.yaml}", "extends is written so, and outside of the sections"),
        ("extends: broken.yaml", "broken.yaml: batchsize is no setting"),
    ],
)
def test_what_cannot_be_extended_is_one_line(tmp_path, content, said):
    (tmp_path / "other.yaml").write_text("extends: run.yaml\nbatch_size: 3")
    (tmp_path / "broken.yaml").write_text("batchsize: 3")
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path / "run.yaml")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_other_bytes_than_text_and_files_that_are_not_there(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("bytes", "absent", "."):
        with pytest.raises(ConfigError, match=r"cannot be read|there is no config file"):
            read_settings(tmp_path / name)


def test_a_key_that_json_gives_twice_is_the_mistake_that_it_is_in_yaml(tmp_path):
    (tmp_path / "run.json").write_text('{"data": {"batch_size": 3, "batch_size": 4}}')
    with pytest.raises(ConfigError, match=r"run\.json cannot be read \(batch_size is given twice\)"):
        read_settings(tmp_path / "run.json")
