"""What frozen encoders computed comes back bit for bit, and nothing else does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lisa_core.build import build_model, sam_size
from lisa_core.config import AugmentationConfig, DataConfig, RunConfig, SpeedConfig, TrainConfig
from lisa_core.data.collate import Collator
from lisa_core.encoder_cache import encoder_cache
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.feature_cache import FeatureStore, PictureStores, TextStates, picture_key
from lisa_core.inference import to_device
from lisa_core.model import LisaModel
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.trainer import Trainer
from lisa_core.tuning import apply_tuning
from lisa_core.vlm import ImageFeatures

FROZEN = TuningConfig(vlm_freeze=True, tune_sam_encoder="freeze")
QUESTIONS = ["Segment the red ring.", "Segment it.", "Segment the small blue square on the left."]


def picture(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def model_of(vlm: str = "clip-llm", seed: int = 0, tuning: TuningConfig = FROZEN, **changes: object) -> LisaModel:
    torch.manual_seed(seed)
    model = build_model(ModelConfig(vlm=vlm, vlm_model_name="tiny", **changes))  # type: ignore[arg-type]
    apply_tuning(model, tuning)
    return model


def collator(model: LisaModel) -> Collator:
    return Collator(model.vlm, model.config, sam_size(model.config), model.cache.pictures)


def masks(model: LisaModel, images: list[Image.Image]) -> torch.Tensor:
    batch = collator(model).inputs(images, QUESTIONS, None if late(model) else ["It is [SEG]."] * 3, [0, 1, 0])
    output = model(to_device(batch, torch.device("cpu")))
    return output.mask_logits


def late(model: LisaModel) -> bool:
    return model.config.fusion == "late"


CASES = [
    ("clip-llm", {"fusion": "late"}),
    ("clip-llm", {"fusion": "joint"}),
    ("clip-llm", {"fusion": "late", "mask_features": "sam"}),
    ("smolvlm", {"fusion": "joint", "mask_features": "sam"}),
    ("smolvlm", {"fusion": "late"}),
    ("qwenvl", {"fusion": "late"}),
]


@pytest.mark.parametrize(("vlm", "changes"), CASES, ids=[f"{vlm}-{'-'.join(c.values())}" for vlm, c in CASES])
def test_masks_are_the_same_from_kept_features(tmp_path: Path, vlm: str, changes: dict[str, str]) -> None:
    model = model_of(vlm, **changes).eval()
    images = [picture(0), picture(1, (50, 90))]
    expected = masks(model, images)
    model.cache = encoder_cache(model, tmp_path)
    assert torch.equal(masks(model, images), expected), "computed and kept"
    encoders = [part for part in (model.vlm.vision_tower, model.sam_encoder) if part is not None]
    kept = [part for part in encoders if any(part is one for one in model.cache.parts)]
    assert kept
    for part in kept:
        part.forward = None  # type: ignore[assignment]
    torch.testing.assert_close(masks(model, images), expected, atol=2e-5, rtol=1e-4)
    # Another batch of the same pictures, after what was kept one by one.
    assert masks(model, [images[1], images[0]]).shape == expected.shape


def test_a_model_with_other_weights_or_another_picture_finds_nothing(tmp_path: Path) -> None:
    model = model_of(fusion="late")
    model.cache = encoder_cache(model, tmp_path)
    masks(model, [picture(0), picture(1)])
    stores = model.cache.pictures
    assert "feature_grid" in stores.read([picture(0)])
    assert "feature_grid" not in stores.read([picture(0), picture(2)])
    assert "feature_grid" not in encoder_cache(model_of(fusion="late", seed=1), tmp_path).pictures.read([picture(0)])
    again = encoder_cache(model_of(fusion="late"), tmp_path).pictures
    assert torch.equal(again.read([picture(0)])["feature_grid"], stores.read([picture(0)])["feature_grid"])


def test_another_preparation_of_pictures_is_another_store(tmp_path: Path) -> None:
    model = model_of(fusion="late")
    first = encoder_cache(model, tmp_path).pictures.vision
    model.vlm.image_processor.image_mean = [0.1, 0.2, 0.3]
    second = encoder_cache(model, tmp_path).pictures.vision
    assert first is not None and second is not None and first.folder != second.folder


def test_a_mirrored_picture_is_another_one() -> None:
    one = picture(0)
    assert picture_key(one) == picture_key(one.copy())
    assert picture_key(one) != picture_key(one.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert picture_key(Image.new("RGB", (48, 32))) != picture_key(Image.new("RGB", (32, 48)))


@pytest.mark.parametrize(
    ("tuning", "changes"),
    [
        (TuningConfig(), {"fusion": "late"}),
        (TuningConfig(use_lora=True), {"fusion": "late"}),
        (FROZEN, {"vlm": "smolvlm", "fusion": "joint"}),
    ],
)
def test_nothing_to_keep_is_said(tmp_path: Path, tuning: TuningConfig, changes: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--feature-cache has nothing to keep"):
        encoder_cache(model_of(tuning=tuning, **changes), tmp_path)


def test_a_language_model_that_trains_is_read_every_time(tmp_path: Path) -> None:
    tuning = dataclasses.replace(TuningConfig(), tune_vision="freeze")
    cache = encoder_cache(model_of(fusion="late", tuning=tuning), tmp_path)
    assert cache.text is None and cache.pictures.vision is not None
    assert encoder_cache(model_of(fusion="late"), tmp_path).text is not None


def test_kept_parts_stay_as_in_evaluation_and_get_no_gradient(tmp_path: Path) -> None:
    model = model_of(fusion="late")
    model.cache = encoder_cache(model, tmp_path)
    model.train()
    assert model.training and model.text_sam.training
    assert not any(module.training for part in model.cache.parts for module in part.modules())
    for _ in range(2):  # computed, then kept
        model.zero_grad()
        masks(model, [picture(0), picture(1)]).sum().backward()
        assert model.text_sam.queries.grad is not None
        assert all(value.grad is None for part in model.cache.parts for value in part.parameters())


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, "a")
    store.save("abcd", {"grid": torch.ones(2)})
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:20])
    assert store.load(["abcd"]) is None
    store.save("abcd", {"grid": torch.ones(2)})
    found = store.load(["abcd"])
    assert found is not None and torch.equal(found[0]["grid"], torch.ones(2))
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_is_kept_can_be_read_by_whoever_reads_other_files(tmp_path: Path) -> None:
    FeatureStore(tmp_path, "a").save("abcd", {"grid": torch.ones(2)})
    (path,) = tmp_path.rglob("*.safetensors")
    (tmp_path / "new").touch()
    assert path.stat().st_mode == (tmp_path / "new").stat().st_mode


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="--feature-cache"):
        FeatureStore(tmp_path / "file", "a").save("abcd", {"grid": torch.ones(2)})


@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4), seed=st.integers(0, 1000)
)
def test_padding_is_not_kept(tmp_path_factory: pytest.TempPathFactory, sizes, seed) -> None:
    folder = tmp_path_factory.mktemp("store")
    generator = torch.Generator().manual_seed(seed)
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    grid, mask = torch.zeros(len(sizes), 3, height, width), torch.zeros(len(sizes), height, width, dtype=torch.bool)
    content = torch.zeros(len(sizes), 4)
    own = []
    for row, (h, w) in enumerate(sizes):
        own.append(torch.randn(3, h, w, generator=generator))
        grid[row, :, :h, :w], mask[row, :h, :w] = own[-1], True
        content[row] = torch.tensor([0.0, 0.0, w / width, h / height])
    features = ImageFeatures(grid.flatten(2).transpose(1, 2), grid, content, mask=mask.flatten(1))
    stores = PictureStores(FeatureStore(folder, "a"), None)
    stores.keep_vision([f"aa{row}" for row in range(len(sizes))], features)
    assert stores.vision is not None
    for row, value in enumerate(own):
        found = stores.vision.load([f"aa{row}"])
        assert found is not None and torch.equal(found[0]["grid"], value)
        torch.testing.assert_close(found[0]["content"], torch.tensor([0.0, 0.0, 1.0, 1.0]))


@given(rows=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=6))
def test_a_sentence_is_encoded_once(tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]]) -> None:
    asked: list[tuple[int, ...]] = []

    def encode(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        asked.extend(tuple(row[:n]) for row, n in zip(ids.tolist(), mask.sum(1).tolist()))
        return ids[..., None].float() * torch.tensor([1.0, 10.0])

    states = TextStates(FeatureStore(tmp_path_factory.mktemp("store"), "a"))
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    for _ in range(2):
        assert torch.equal(states.get(ids, mask, encode), ids[..., None] * torch.tensor([1.0, 10.0]))
    assert sorted(asked) == sorted({tuple(row) for row in rows})


def test_a_sentence_is_read_once_for_all_processes(tmp_path: Path) -> None:
    first = model_of(fusion="late").eval()
    first.cache = encoder_cache(first, tmp_path)
    expected = masks(first, [picture(0), picture(1)])
    again = model_of(fusion="late").eval()  # as in another process: nothing is in memory
    again.cache = encoder_cache(again, tmp_path)
    assert again.vlm.language_model is not None
    again.vlm.language_model.forward = None  # type: ignore[assignment]
    torch.testing.assert_close(masks(again, [picture(0), picture(1)]), expected, atol=2e-5, rtol=1e-4)
    other = model_of(fusion="late", seed=1).eval()
    other.cache = encoder_cache(other, tmp_path)
    assert other.cache.text is not None
    assert not other.cache.text.store.folder.exists(), "of a language model with other weights there is nothing"


def test_changed_pictures_are_not_kept() -> None:
    config = TrainConfig(speed=SpeedConfig(feature_cache="features"), augmentation=AugmentationConfig(augment="light"))
    with pytest.raises(ConfigError, match="--feature-cache would fill with changed pictures"):
        config.validate()


def test_processes_that_share_out_the_weights_cannot_keep_features(tmp_path: Path, scenes: Path) -> None:
    config = TrainConfig(
        model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny"),
        data=DataConfig(data=str(scenes)),
        speed=SpeedConfig(feature_cache=str(tmp_path / "kept")),
        run=RunConfig(output_dir=str(tmp_path / "run"), device="cpu", parallel="fsdp"),
    )
    with pytest.raises(ConfigError, match="--feature-cache does not go with sharded weights"):
        Trainer(config)
    assert not (tmp_path / "run").exists()
