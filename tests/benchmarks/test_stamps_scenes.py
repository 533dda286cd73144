from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scene_files
import scenes
from catalogue import SPLITS, Background, Material, Stamp, Words, hold_out, load_material
from disjoint import check, main
from material import missing_packages
from scene_files import VERSION, make_files, outline
from scenes import Counts, synthesize

from lisa_core.data import group_by_image, open_dataset
from lisa_core.data.polygons import paint_polygon
from lisa_core.errors import ConfigError, DataError

COUNTS = Counts(train=8, val=3, test_unseen=4)
SCRIPT = Path(scenes.__file__)
needs_packages = pytest.mark.skipif(
    bool(missing_packages()), reason=f"needs the Debian packages {' '.join(missing_packages())}"
)


@pytest.fixture(scope="module")
def written(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("benchmark") / "data"
    synthesize(out, material, COUNTS, seed=5)
    return out


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "data"))


def contents(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "benchmark.json"
    }


def manifest(out: Path) -> dict:
    return json.loads((out / "benchmark.json").read_text())


def test_the_same_seed_gives_the_same_bytes_whoever_makes_them(
    written: Path, material: Material, tmp_path: Path
) -> None:
    synthesize(tmp_path / "two", material, COUNTS, seed=5, workers=2)
    assert contents(tmp_path / "two") == contents(written)
    synthesize(tmp_path / "other", material, COUNTS, seed=6)
    hashes = [manifest(out)["sha256"] for out in (written, tmp_path / "two", tmp_path / "other")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_scene_depends_on_its_split_and_number_alone(written: Path, material: Material, tmp_path: Path) -> None:
    synthesize(tmp_path / "fewer", material, Counts(train=2, val=0, test_unseen=4), seed=5)
    fewer, all_of_them = contents(tmp_path / "fewer"), contents(written)
    del fewer["scenes.json"]
    assert fewer.items() <= all_of_them.items() and any(name.startswith("test_unseen/") for name in fewer)


def test_the_hash_is_that_of_the_files_on_disk(written: Path) -> None:
    digest = hashlib.sha256()
    files = sorted(path for split in SPLITS for path in (written / split).iterdir())
    for path in sorted(files, key=lambda path: path.relative_to(written).as_posix()):
        name = path.relative_to(written).as_posix()
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    assert manifest(written)["sha256"] == digest.hexdigest()


@pytest.mark.parametrize("split", ["train", "val"])
def test_our_reader_takes_it_and_masks_come_back_exactly(written: Path, material: Material, split: str) -> None:
    stamps, backgrounds = material.of_split(split)
    data = open_dataset(written, split, "all")
    by_id = {sample.id: index for index, sample in enumerate(data.samples)}
    said_twice = 0
    for index in range(getattr(COUNTS, split)):
        rng = np.random.default_rng(np.random.SeedSequence([VERSION, 5, SPLITS.index(split), index]))
        while True:
            scene = scene_files.compose(rng, stamps, backgrounds)
            known = scene_files.known_words(material)
            view = scene_files.view_of(scene)
            if split == "train":
                chosen = scene_files.choose(rng, view, len(scene.objects), known, kinds_each=2)
            else:
                chosen = scene_files.choose(rng, view, int(rng.integers(2, 5)), known)
            if len(chosen) >= 2:
                break
        for number, said in enumerate(chosen):
            name = f"scene_{index:05d}_{number}"
            texts = [sample.text for sample in data.samples if sample.id.startswith(f"{name}#")]
            assert 1 <= len(texts) <= 2 and (split != "train" or len(texts) == len(said))
            for place, text in enumerate(texts):
                assert any(phrase in text for phrase in said[min(place, len(said) - 1)].phrases)
            said_twice += len(said) == 2
            example = data.load(by_id[f"{name}#0"])
            assert np.array_equal(example.mask == 1, scene.masks[said[0].target])
            assert example.image.size == (scene.image.shape[1], scene.image.shape[0])
            difference = np.abs(np.asarray(example.image, dtype=int) - scene.image).mean()
            assert difference < 6  # JPEG
    assert said_twice or split != "train"


@pytest.mark.parametrize("split", SPLITS)
def test_every_picture_has_sentences_about_different_objects(written: Path, split: str) -> None:
    data = open_dataset(written, split, "first")
    groups = group_by_image(data.samples)
    assert len(groups) == getattr(COUNTS, split)
    for group in groups:
        annotations = [json.loads(data.samples[index].annotation_path.read_text()) for index in group]
        assert len({one["object"] for one in annotations}) == len(annotations) >= 2
        assert len({one["text"][0] for one in annotations}) == len(annotations)


def test_splits_show_what_they_may(written: Path, material: Material) -> None:
    found = manifest(written)
    held_out = material.held_out()
    assert set(found["objects"]["test_unseen"]) <= held_out
    assert not (set(found["objects"]["train"]) | set(found["objects"]["val"])) & held_out
    photographs = [set(found["backgrounds"][split]) for split in SPLITS]
    assert not photographs[0] & photographs[1] and not (photographs[0] | photographs[1]) & photographs[2]


def test_counts_are_those_of_the_files(written: Path) -> None:
    found = manifest(written)
    for split in SPLITS:
        by_name = {path.stem: json.loads(path.read_text()) for path in (written / split).glob("*.json")}
        annotations = list(by_name.values())
        assert found["counts"][split]["annotations"] == len(annotations) == sum(found["kinds"][split].values())
        assert found["counts"][split]["texts"] == sum(len(one["text"]) for one in annotations)
        of_three = [name.rpartition("_")[0] for name, one in by_name.items() if one["rivals"] >= 2]
        assert found["counts"][split]["annotations_with_two_rivals"] == len(of_three)
        assert found["counts"][split]["scenes_with_two_rivals"] == len(set(of_three))
        unknown = sum(not one["words_known"] for one in annotations)
        assert found["counts"][split]["annotations_with_new_nouns"] == unknown
        assert split == "test_unseen" or unknown == 0


def test_outlines_within_the_bounding_box_are_exact() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = np.zeros((60, 80), dtype=bool)
        mask[20:50, 30:60] = rng.random((30, 30)) < 0.6
        painted = np.zeros_like(mask)
        for polygon in outline(mask):
            painted |= paint_polygon(polygon, 60, 80)
        assert np.array_equal(painted, mask)
    assert outline(np.zeros((5, 5), dtype=bool)) == []


def test_only_our_own_folder_is_replaced(copy: Path, material: Material, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--force"):
        synthesize(copy, material, COUNTS)
    (copy / "train" / "mine.txt").write_text("kept")
    synthesize(copy, material, Counts(1, 0, 0), force=True)
    assert (copy / "train" / "mine.txt").exists() and len(list((copy / "val").iterdir())) == 0
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "a.txt").write_text("a")
    with pytest.raises(DataError, match="was not written by `benchmarks/stamps`"):
        synthesize(tmp_path / "foreign", material, COUNTS, force=True)
    with pytest.raises(ConfigError, match="counts are"):
        synthesize(tmp_path / "new", material, Counts(0, 0, 0))


# -- what is held out ------------------------------------------------------------------------------------------------


def stamps_of(families: dict[str, int], grouped: int = 0) -> list[Stamp]:
    return [
        Stamp(f"{family}{i}", Path(family), family, Words((family,)), group="g" if i < grouped else None)
        for family, count in families.items()
        for i in range(count)
    ]


def test_a_fifth_of_each_family_is_held_out() -> None:
    held_out = hold_out(stamps_of({"bird": 35, "tool": 10, "vehicle": 4}))
    assert [sum(key.startswith(family) for key in held_out) for family in ("bird", "tool", "vehicle")] == [7, 2, 1]


def test_one_subject_stays_in_one_split() -> None:
    for share in (0.2, 0.5, 0.8):
        held_out = hold_out(stamps_of({"bird": 10}, grouped=4), share)
        assert len({f"bird{i}" in held_out for i in range(4)}) == 1


# -- disjointness ----------------------------------------------------------------------------------------------------


def leaks(out: Path, material: Material, **options) -> list[str]:
    return check(out, material, **{"recompose": 2, "say": lambda line: None, **options})


def test_a_clean_benchmark_has_no_leak(written: Path, material: Material) -> None:
    said: list[str] = []
    assert leaks(written, material, say=said.append) == []
    assert any("test_unseen cut-outs against" in line and "none shared" in line for line in said)
    assert any("composed again: all as recorded" in line for line in said)


def rewrite(out: Path, change) -> None:
    lines = json.loads((out / "scenes.json").read_text())
    for line in lines:
        change(line)
    (out / "scenes.json").write_text(json.dumps(lines))


def test_a_test_picture_among_the_training_pictures_is_found(copy: Path, material: Material) -> None:
    shutil.copy(copy / "test_unseen" / "scene_00001_0.jpg", copy / "train" / "scene_00003_0.jpg")
    found = leaks(copy, material, recompose=0)
    assert any("test_unseen/scene_00001_0.jpg has the pixels of train/scene_00003_0.jpg" in leak for leak in found)


def test_a_mirrored_test_picture_is_found(copy: Path, material: Material) -> None:
    from PIL import Image, ImageOps

    with Image.open(copy / "test_unseen" / "scene_00001_0.jpg") as image:
        mirrored = ImageOps.mirror(image)
    mirrored.save(copy / "train" / "scene_00003_0.jpg", quality=70)
    found = leaks(copy, material, recompose=0)
    assert any("test_unseen/scene_00001_0.jpg looks like train/scene_00003_0.jpg" in leak for leak in found)


def test_a_test_object_in_a_training_scene_is_found(copy: Path, material: Material) -> None:
    (key,) = list(manifest(copy)["objects"]["test_unseen"])[:1]

    def plant(line: dict) -> None:
        if line["split"] == "train" and line["scene"] == 0:
            line["objects"][0]["stamp"] = key

    rewrite(copy, plant)
    assert any(f"test_unseen cut-out {key} has the pixels of {key}" in leak for leak in leaks(copy, material))


def test_a_near_duplicate_of_a_test_object_is_found(copy: Path, material: Material, tmp_path: Path) -> None:
    """Another file: mirrored, smaller, brighter, with another border and other colours where it does not show."""
    from PIL import Image, ImageEnhance, ImageOps

    held_out = next(stamp for stamp in material.stamps if stamp.key in manifest(copy)["objects"]["test_unseen"])
    with Image.open(held_out.path) as image:
        twin = ImageEnhance.Brightness(ImageOps.mirror(image)).enhance(1.06).resize((70, 56))
    wide = Image.new("RGBA", (120, 90), (9, 9, 9, 0))
    wide.paste(twin, (30, 20))
    wide.save(tmp_path / "twin.png")
    key = manifest(copy)["objects"]["train"][0]
    stamps = tuple(
        Stamp(s.key, tmp_path / "twin.png", s.family, s.words) if s.key == key else s for s in material.stamps
    )
    found = leaks(copy, Material(stamps, material.backgrounds), recompose=0)
    assert [leak for leak in found if f"test_unseen cut-out {held_out.key} looks like {key}" in leak]


def test_a_shared_photograph_is_found(copy: Path, material: Material) -> None:
    (theirs,) = manifest(copy)["backgrounds"]["train"][:1]
    (ours,) = manifest(copy)["backgrounds"]["test_unseen"][:1]
    path = next(one.path for one in material.backgrounds if one.key == theirs)
    backgrounds = tuple(Background(b.key, path if b.key == ours else b.path, b.split) for b in material.backgrounds)
    found = leaks(copy, Material(material.stamps, backgrounds), recompose=0)
    assert any(f"test_unseen photograph {ours} has the pixels of {theirs}" in leak for leak in found)


def test_a_record_that_is_not_true_is_found(copy: Path, material: Material) -> None:
    def lie(line: dict) -> None:
        if line["split"] == "train" and line["scene"] == 0:
            line["objects"][0]["stamp"] = next(s.key for s in material.of_split("train")[0] if s.key not in str(line))

    rewrite(copy, lie)
    assert leaks(copy, material, recompose=1) == [
        "train/scene_00000 is not what its seed composes (another processor may differ)"
    ]
    shutil.copy(copy / "train" / "scene_00001_0.jpg", copy / "train" / "scene_99999_0.jpg")
    assert any("scene_99999_0 is not recorded" in leak for leak in leaks(copy, material, recompose=0))


def test_a_leak_is_exit_code_1(copy: Path, material: Material, monkeypatch, capsys) -> None:
    monkeypatch.setattr("disjoint.load_material", lambda: material)
    monkeypatch.setattr(sys, "argv", ["disjoint.py", str(copy)])
    with pytest.raises(SystemExit) as clean:
        main()
    assert clean.value.code == 0 and capsys.readouterr().out.endswith("the splits are disjoint\n")
    shutil.copy(copy / "test_unseen" / "scene_00001_0.jpg", copy / "train" / "scene_00003_0.jpg")
    with pytest.raises(SystemExit) as leaking:
        main()
    assert leaking.value.code == 1 and "LEAK: " in capsys.readouterr().out


def test_a_proof_that_could_not_be_given_in_full_says_so(copy: Path, material: Material, monkeypatch, capsys) -> None:
    monkeypatch.setattr("disjoint.load_material", lambda: material)
    monkeypatch.setattr(sys, "argv", ["disjoint.py", str(copy), "--recompose", "0"])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    assert capsys.readouterr().out.endswith(", if scenes.json is true: no scene was composed again\n")
    changed = {**manifest(copy), "written_with": {"pillow": "1.0", "numpy": "1.0"}}
    (copy / "benchmark.json").write_text(json.dumps(changed))
    monkeypatch.setattr(sys, "argv", ["disjoint.py", str(copy)])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    assert capsys.readouterr().out.endswith(", if scenes.json is true: no scene was composed again\n")


def test_files_that_are_not_those_that_were_written_are_found(copy: Path, material: Material) -> None:
    path = next((copy / "val").glob("*.json"))
    path.write_text(path.read_text() + " ")
    (found,) = leaks(copy, material)
    assert found.startswith("the files are not those whose hash benchmark.json has: write them again with ")


def test_what_is_missing_is_said(copy: Path, material: Material) -> None:
    (copy / "train" / "scene_00000_0.jpg").unlink()
    assert "train/scene_00000_0 is recorded but missing" in leaks(copy, material)
    shutil.rmtree(copy / "val")
    with pytest.raises(DataError, match="val is missing: write the benchmark again"):
        leaks(copy, material)


def test_a_damaged_picture_is_named(copy: Path, material: Material) -> None:
    path = copy / "train" / "scene_00000_0.jpg"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"scene_00000_0\.jpg cannot be read .*: write the scenes again with --force"):
        leaks(copy, material)


def test_an_unfinished_benchmark_is_refused(copy: Path, material: Material) -> None:
    (copy / "benchmark.json").write_text(json.dumps({"complete": False}))
    with pytest.raises(DataError, match="unfinished"):
        leaks(copy, material)
    with pytest.raises(DataError, match="not a benchmark"):
        leaks(copy / "train", material)


# -- with the packages -----------------------------------------------------------------------------------------------


@needs_packages
def test_the_real_material_is_as_it_was_described() -> None:
    material = load_material()
    assert len(material.stamps) == 305 and len(material.backgrounds) == 25
    assert len(material.held_out()) == 59
    for stamp in material.stamps:
        assert stamp.words.names and not set(stamp.words.names) & stamp.words.maybe
    assert make_files(material, 0, "test_unseen", 3).jpeg == make_files(material, 0, "test_unseen", 3).jpeg


def test_missing_packages_are_named_in_one_line(tmp_path: Path) -> None:
    patch = "import material, pathlib; material.STAMPS = pathlib.Path('/nowhere'); import scenes; scenes.main()"
    process = subprocess.run(
        [sys.executable, "-c", patch, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent)},
    )
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "apt-get install -y tuxpaint-stamps-default" in process.stderr
    assert not (tmp_path / "out").exists()
