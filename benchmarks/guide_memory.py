"""The memory table of ModifiedLISA's guide beside `lisa estimate`, for `docs/memory.md`.

python benchmarks/guide_memory.py [--write docs/memory.md]
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lisa_core.config import DataConfig, ModelConfig, SpeedConfig, TrainConfig, TuningConfig
from lisa_core.estimate import estimate

LLAVA = "llava-hf/llava-1.5-7b-hf"
ROWS: tuple[tuple[str, str, dict[str, Any], float], ...] = (
    # label, checkpoint, settings, the guide's figure in GB
    ("LLaVA-1.5-7B, fp32", LLAVA, {}, 28),
    ("LLaVA-1.5-7B, bf16", LLAVA, {"vlm_mixed_precision": "bf16"}, 14),
    ("LLaVA-1.5-7B, 8-bit", LLAVA, {"vlm_mixed_precision": "bf16", "vlm_quantization": "8bit"}, 7),
    ("LLaVA-1.5-7B, 4-bit", LLAVA, {"vlm_mixed_precision": "bf16", "vlm_quantization": "4bit"}, 4),
    ("SmolVLM, bf16", "HuggingFaceTB/SmolVLM-Instruct", {"vlm_mixed_precision": "bf16"}, 6),
    ("Qwen2-VL-2B, bf16", "Qwen/Qwen2-VL-2B-Instruct", {"vlm_mixed_precision": "bf16"}, 8),
    ("PaliGemma-3B, bf16", "google/paligemma-3b-pt-224", {"vlm_mixed_precision": "bf16"}, 6),
)
MARKERS = re.compile(r"(<!-- guide_memory.py -->\n).*?(<!-- /guide_memory.py -->)", re.DOTALL)


def config(name: str, settings: dict[str, Any]) -> TrainConfig:
    """LoRA with its defaults, one sentence at a time."""
    speed = {key: value for key, value in settings.items() if key == "vlm_mixed_precision"}
    tuning = {key: value for key, value in settings.items() if key not in speed}
    return TrainConfig(
        model=ModelConfig(vlm_model_name=name),
        tuning=TuningConfig(vlm_use_lora=True, **tuning),
        data=DataConfig(batch_size=1),
        speed=SpeedConfig(**speed),
    )


def table() -> Iterator[str]:
    """Lines of Markdown; GB are 10^9 bytes."""
    yield "| | guide | weights | segmenting | LoRA | LoRA, checkpointing |"
    yield "|---|---|---|---|---|---|"
    for label, name, settings, guide in ROWS:
        asked = config(name, settings)
        lighter = dataclasses.replace(asked, speed=dataclasses.replace(asked.speed, gradient_checkpointing=True))
        training, drawing = estimate(asked), estimate(asked, training=False)
        figures = (training.weights, drawing.total, training.total, estimate(lighter).total)
        cells = " | ".join(f"{figure / 1e9:.1f}{_near(figure / 1e9, guide)}" for figure in figures)
        yield f"| {label} | {guide} | {cells} |"


def _near(figure: float, guide: float) -> str:
    return " *" if abs(figure / guide - 1) <= 0.15 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    args = parser.parse_args()
    lines = "\n".join(table()) + "\n"
    print(lines, end="")
    if args.write is not None:
        args.write.write_text(MARKERS.sub(lambda match: match[1] + lines + match[2], args.write.read_text()))


if __name__ == "__main__":
    main()
