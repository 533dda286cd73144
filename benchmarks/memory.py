"""How well `lisa estimate` foretells memory: its figure over the measured growth of a real run's memory, on this CPU.

    python benchmarks/memory.py [--cases smolvlm-lora ...]

Each case builds a model of 50 to 500 million parameters of a family's real classes, saves it as a local checkpoint and
trains on it for a few steps in a process of its own. Growth is the most that process ever held (resident, Linux only)
less what it held once everything was imported; the run is whole: loading, steps, checkpoint, validation.

glibc keeps small freed blocks for itself, a tenth to a fifth of the total here and more on some machines. That is no
memory the run needs, so its process gives them back at once; `--keep-freed` measures without that.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lisa_core.config import SECTIONS, TrainConfig
from lisa_core.estimate import estimate
from lisa_core.registry import get_registry
from lisa_core.skeleton import EXPRESSION, PICTURE
from lisa_core.trainer import Trainer

_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
_LLAMA_135M = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
               "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49280}  # fmt: skip
_LLAMA_360M = {"hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 15,
               "num_key_value_heads": 5, "head_dim": 64, "vocab_size": 49280}  # fmt: skip
_VIT_S = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6}
_VIT_B = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # name: family, changes of the tiny model's vision and text config, settings
    "clip-llm-full": (
        "clip-llm",
        {**_VIT_S, "image_size": 224, "patch_size": 16},
        {**_LLAMA_135M, "num_hidden_layers": 8},
        {"batch_size": 4},
    ),
    "smolvlm-lora": (
        "smolvlm",
        {**_VIT_B, "image_size": 384, "patch_size": 16},
        _LLAMA_135M,
        {"batch_size": 4, "vlm_use_lora": True},
    ),
    "llava-lora-bf16-checkpointing": (
        "llava",
        {**_VIT_B, "image_size": 336, "patch_size": 14},
        {**_LLAMA_360M, "num_hidden_layers": 30},
        {
            "batch_size": 2,
            "vlm_use_lora": True,
            "vlm_mixed_precision": "bf16",
            "gradient_checkpointing": True,
        },
    ),
    "paligemma-frozen": (
        "paligemma",
        {**_VIT_B, "image_size": 224, "patch_size": 14},
        {**_LLAMA_360M, "num_hidden_layers": 16},
        {"batch_size": 4, "vlm_freeze": True, "gradient_accumulation_steps": 2},
    ),
    "smolvlm-full-bf16": (
        "smolvlm",
        {**_VIT_S, "image_size": 384, "patch_size": 16},
        {**_LLAMA_135M, "num_hidden_layers": 16},
        {"batch_size": 4, "vlm_mixed_precision": "bf16", "gradient_accumulation_steps": 2},
    ),
    "llava-qlora-4bit": (
        "llava",
        {**_VIT_B, "image_size": 336, "patch_size": 14},
        _LLAMA_360M,
        {"batch_size": 2, "vlm_use_lora": True, "vlm_quantization": "4bit"},
    ),
}


def settings(family: str, changes: Mapping[str, Any], folder: Path) -> TrainConfig:
    """A run of three steps and a validation."""
    steps = 3 * changes["batch_size"] * changes.get("gradient_accumulation_steps", 1)
    values = {
        **{
            "vlm": family,
            "vlm_model_name": (folder / "name").read_text(),
            "sam": "vit_b",
            "data": str(folder / "data"),
        },
        **{"num_epochs": 1, "max_train_samples": steps, "max_val_samples": 1, "output_dir": str(folder / "run")},
        **{"device": "cpu", "sample_masks": 0, **changes},
    }
    fields = {name: set(cls.__dataclass_fields__) for name, cls in SECTIONS.items()}
    return TrainConfig(
        **{
            name: cls(**{key: value for key, value in values.items() if key in fields[name]})
            for name, cls in SECTIONS.items()
        }
    )


def prepare(case: str, folder: Path) -> None:
    """Save the model as a checkpoint, and pictures with sentences as the estimate assumes them."""
    family, vision, text, changes = CASES[case]
    torch.manual_seed(0)
    vlm: Any = get_registry().load_vlm_class(family).tiny()
    if family == "clip-llm":
        halves = (
            type(vlm.vision)(_changed(vlm.vision.config, vision)),
            type(vlm.language)(_changed(vlm.language.config, text)),
        )
        made = type(vlm)(*halves, vlm.image_processor, vlm.tokenizer)
    else:
        config, processor = vlm.model.config, vlm.processor
        config.vision_config = _changed(config.vision_config, vision)
        config.text_config = _changed(config.text_config, text)
        _fit(config, processor)
        made = type(vlm)(type(vlm.model)(config), processor)
    if changes.get("vlm_mixed_precision") == "bf16":
        made.bfloat16()  # as published checkpoints are; reading another type keeps both in memory for a moment
    (folder / "model").mkdir()
    (folder / "name").write_text(made.save_pretrained(folder / "model"))
    random = np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 1)):
        (folder / "data" / split).mkdir(parents=True)
        for number in range(count):
            stem = folder / "data" / split / f"{number:03d}"
            pixels = random.integers(0, 256, (PICTURE[1] // 16, PICTURE[0] // 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize(PICTURE).save(stem.with_suffix(".jpg"))
            outline = {
                "label": "target",
                "labels": ["target"],
                "shape_type": "polygon",
                "points": [[9, 9], [500, 9], [500, 500]],
            }
            described = {"shapes": [outline], "text": [EXPRESSION] * 4, "is_sentence": False}
            stem.with_suffix(".json").write_text(json.dumps(described))


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A config of the same class; what is derived from sizes is derived anew."""
    kept = {name: value for name, value in config.to_dict().items() if name not in ("layer_types", "rope_parameters")}
    return type(config)(**{**kept, **changes})


def _fit(config: Any, processor: Any) -> None:
    """Let processor and projector follow the vision tower's size."""
    vision, images = config.vision_config, processor.image_processor
    side = vision.image_size
    if getattr(images, "max_image_size", None):
        images.size = images.max_image_size = {"longest_edge": side}
        processor.image_seq_len = (side // vision.patch_size // config.scale_factor) ** 2
        return
    square = {"height": side, "width": side}
    images.size = {"shortest_edge": side} if "shortest_edge" in images.size else square
    if getattr(images, "crop_size", None):
        images.crop_size = square
    if hasattr(processor, "patch_size"):
        processor.patch_size = vision.patch_size
    if hasattr(config, "projection_dim"):
        config.projection_dim = vision.projection_dim = config.text_config.hidden_size
    count = (side // vision.patch_size) ** 2
    if hasattr(images, "image_seq_length"):
        images.image_seq_length = processor.image_seq_length = count
    vision.num_image_tokens = config.text_config.num_image_tokens = count


def resident(name: str) -> int:
    """`VmRSS` or `VmHWM` of this process, bytes."""
    (found,) = re.findall(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found) * 1024


def measure(case: str, folder: Path) -> None:
    """Train, and print what it took."""
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401

    family, _, _, changes = CASES[case]
    config = settings(family, changes, folder)
    get_registry().load_vlm_class(family).tiny()
    before = resident("VmRSS")
    trainer = Trainer(config)
    built = resident("VmHWM")
    trainer.run()
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    print(
        json.dumps({"before": before, "built": built - before, "growth": resident("VmHWM") - before, "n": parameters})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--keep-freed", action="store_true")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside is not None:
        (measure if (args.inside / "name").exists() else prepare)(args.cases[0], args.inside)
        return
    print(f"{'case':32} parameters  estimated  measured  ratio")
    for case in args.cases:
        with tempfile.TemporaryDirectory() as name:
            command = [sys.executable, __file__, "--inside", name, "--cases", case]
            subprocess.run(command, check=True)
            foretold = estimate(settings(CASES[case][0], CASES[case][3], Path(name)))
            environment = os.environ | ({} if args.keep_freed else _GIVE_BACK)
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            found = json.loads(done.stdout.splitlines()[-1])
            ratio = foretold.total / found["growth"]
            print(
                f"{case:32} {found['n'] / 1e6:8.1f}M {foretold.total / 1e9:7.2f} GB {found['growth'] / 1e9:6.2f} GB"
                f"  {ratio:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
