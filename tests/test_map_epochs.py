"""Epochs that train the similarity map alone: the decoder is left out, then starts from where it was."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from PIL import Image

from lisa_core.build import build_model, sam_size
from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.data.collate import Collator
from lisa_core.errors import ConfigError
from lisa_core.evaluator import evaluate
from lisa_core.segmenter import Segmenter
from lisa_core.trainer import Trainer


def config_of(scenes, out, **model) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fine_features=True, **model),
        data=DataConfig(data=str(scenes), batch_size=4, max_train_samples=12, max_val_samples=4),
        optim=OptimConfig(num_epochs=2, map_epochs=1),
        run=RunConfig(output_dir=str(out), device="cpu", sample_masks=0),
    )


@pytest.mark.parametrize("fusion", ["late", "joint"])
def test_the_decoder_stays_as_it_is_while_the_map_trains(scenes, tmp_path, fusion):
    trainer = Trainer(config_of(scenes, tmp_path / "run", fusion=fusion))
    names = [name for name, value in trainer.model.named_parameters() if value.requires_grad]
    parts = (trainer.model.decoder, trainer.model.image_sam, trainer.model.fine)
    drawing = {id(value) for part in parts if part is not None for value in part.parameters()}
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    after_map = {}
    finish = trainer._finish_epoch

    def watched(result):
        if not after_map:
            after_map.update({name: value.detach().clone() for name, value in trainer.model.named_parameters()})
        finish(result)

    trainer._finish_epoch = watched  # type: ignore[method-assign]
    result = trainer.run()
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "step"]
    assert [record["bce"] > 0 for record in steps] == [False] * 3 + [True] * 3
    assert all(record["similarity"] > 0 and record["giou"] >= 0 for record in steps)
    assert ["val" in record for record in records if record["kind"] == "epoch"] == [False, True]
    final = dict(trainer.model.named_parameters())
    for name in names:
        idle = id(final[name]) in drawing
        moved = not torch.equal(after_map[name], before[name])
        assert not (idle and moved), name
    assert not torch.equal(after_map["similarity.query.weight"], before["similarity.query.weight"])
    assert any(not torch.equal(final[name], before[name]) for name in names if id(final[name]) in drawing)
    # What was judged is what a checkpoint draws.
    segmenter = Segmenter.load(tmp_path / "run", "cpu")
    again = evaluate(segmenter.model, trainer.val_data, trainer.collator, batch_size=4, max_samples=4, blank=False)
    assert again.giou == pytest.approx(result.giou, abs=1e-5)


@torch.no_grad()
def test_the_map_alone_is_the_map_of_the_whole():
    model = build_model(ModelConfig(vlm="llava", vlm_model_name="tiny", fusion="joint")).eval()
    collator = Collator(model.vlm, model.config, sam_size(model.config))
    batch = collator.inputs([Image.effect_noise((90, 50), 60).convert("RGB")], ["it"], ["It is [SEG]."], [0])
    whole = model(batch)
    model.map_only = True
    alone = model(batch)
    assert whole.decoded and not alone.decoded
    torch.testing.assert_close(alone.similarity_logits, whole.similarity_logits)
    torch.testing.assert_close(alone.mask_logits, whole.similarity_logits)


def test_settings_that_leave_nothing_to_do_are_refused(scenes, tmp_path):
    config = config_of(scenes, tmp_path / "run")
    with pytest.raises(ConfigError, match="--map-epochs 2 leaves none of --num-epochs 2 for masks"):
        dataclasses.replace(config, optim=OptimConfig(num_epochs=2, map_epochs=2)).validate()
    with pytest.raises(ConfigError, match="--map-epochs needs --similarity-map"):
        config_of(scenes, tmp_path / "run", similarity_map=False).validate()


@pytest.mark.parametrize(
    ("optim", "shares"),
    [
        ({"map_epochs": 1}, [0.2, 0.2]),
        ({"map_epochs": 1, "decoder_feature_dropout": 0.4}, [0.2, 0.4]),
        ({"map_epochs": 1, "decoder_feature_dropout": 0.0}, [0.2, 0.0]),
        ({"decoder_feature_dropout": 0.4}, [0.2, 0.2]),  # no map comes first
    ],
)
def test_the_decoder_may_meet_a_less_sure_map(scenes, tmp_path, optim, shares):
    config = config_of(scenes, tmp_path / "run", fusion="late")
    config = dataclasses.replace(config, optim=OptimConfig(num_epochs=2, feature_dropout=0.2, **optim))
    trainer = Trainer(config)
    seen = []
    trainer._train = lambda *args: seen.append(trainer.model.feature_dropout)  # type: ignore[method-assign]
    trainer.run()
    assert seen == shares


@pytest.mark.parametrize("similarity_map", [True, False])
@torch.no_grad()
def test_what_is_drawn_on_is_whole_where_a_map_finds_things(similarity_map):
    torch.manual_seed(0)
    config = ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fusion="late", similarity_map=similarity_map)
    model = build_model(config)
    collator = Collator(model.vlm, model.config, sam_size(model.config))
    batch = collator.inputs([Image.effect_noise((90, 50), 60).convert("RGB")], ["it"], None, [0])
    whole = model.eval().encode_image(batch)
    model.feature_dropout = 0.5
    thinned = model.train().encode_image(batch)
    assert not torch.equal(thinned.patches, whole.patches)
    assert torch.equal(thinned.mask_features, whole.mask_features) == similarity_map


@pytest.mark.parametrize("fusion", ["late", "joint"])
@torch.no_grad()
def test_channels_are_dropped_in_training_alone(fusion):
    torch.manual_seed(0)
    model = build_model(ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fusion=fusion)).eval()
    collator = Collator(model.vlm, model.config, sam_size(model.config))
    batch = collator.inputs([Image.effect_noise((90, 50), 60).convert("RGB")], ["it"], ["It is [SEG]."], [0])
    plain = model(batch).mask_logits
    model.feature_dropout = 0.5
    torch.testing.assert_close(model(batch).mask_logits, plain)
    context: list[torch.Tensor] = []
    model.text_sam.register_forward_pre_hook(lambda _, args: context.append(args[0]))
    grid = model.train().encode_image(batch).patches
    dropped = (grid == 0).flatten(2).all(2)
    assert 0.2 < dropped.float().mean() < 0.8 and ((grid == 0).flatten(2).any(2) == dropped).all()
    model(batch)
    assert 0.2 < (context[0] == 0).all(1).float().mean() < 0.8
