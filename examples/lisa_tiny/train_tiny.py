"""The recipe of `lisa-tiny`, the model that comes with lisa-core: scenes, training, export, figures, model card.

    python examples/lisa_tiny/train_tiny.py

All it needs is this repository: the scenes are drawn by `lisa data synth`, the weights start at random. Each step is
the command a user would type; settings are in tiny.yaml beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RECIPE = HERE / "tiny.yaml"
LARGEST = 12_000_000
"""Bytes that the packaged folder may have."""
MOST_LOST = 0.002
"""gIoU that rounding the weights to half precision may cost."""
DEMO = {"val": 240, "test": 240, "seed": 0}
"""The scenes of `make demo` that the figures are of; none of them is trained on, and no checkpoint chosen by them."""


def lisa(*arguments: str) -> None:
    """Run a `lisa` command, showing it first; if it fails, it has said why, and nothing can follow it."""
    print("\n$ lisa", shlex.join(arguments), flush=True)
    code = subprocess.run([sys.executable, "-m", "lisa_core", *arguments], check=False).returncode
    if code != 0:
        sys.exit(code if code > 0 else f"`lisa {arguments[0]}` was ended by signal {-code}")


def scenes(folder: Path, settings: dict[str, int]) -> dict[str, Any]:
    """Draw scenes unless they are there; returns their manifest, with the hash of all files."""
    manifest = folder / "synth.json"
    if manifest.is_file():
        found = json.loads(manifest.read_text(encoding="utf-8"))
        if found["complete"] and settings.items() <= found["settings"].items():
            return found
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    lisa("data", "synth", str(folder), *flags, "--force")
    return json.loads(manifest.read_text(encoding="utf-8"))


def shared_pictures(ours: Path, theirs: Path) -> list[str]:
    """Pictures below one folder that lie below another too, by the hash of their pixels; nothing if none does."""
    from PIL import Image

    from lisa_core.feature_cache import picture_key

    def keys(folder: Path) -> dict[str, Path]:
        found = {}
        for path in sorted(folder.rglob("*_0.jpg")):  # what a scene's others are copies of
            with Image.open(path) as image:
                found[picture_key(image.convert("RGB"))] = path
        return found

    known = keys(theirs)
    return [f"{path} is {known[key]}" for key, path in keys(ours).items() if key in known]


def halve(path: Path) -> int:
    """Round the float32 tensors of a file of weights to half precision; returns how many numbers it holds.

    Raises:
        ValueError: if one is too large for it.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from lisa_core.durable import finish

    found = load_file(path)
    rounded = {name: value.half() if value.dtype == torch.float32 else value for name, value in found.items()}
    for name, value in rounded.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{path}: {name} has numbers that are too large for half precision")
    save_file(rounded, path, metadata={"format": "pt"})
    finish(path)  # which others may read
    return sum(value.numel() for value in found.values())


def evaluate(checkpoint: Path, data: Path, split: str, output: Path) -> dict[str, Any]:
    """The figures of a checkpoint on a split, as `lisa eval` writes them."""
    lisa("eval", str(checkpoint), "--data", str(data), "--split", split, "-o", str(output))
    return json.loads(output.read_text(encoding="utf-8"))


def card(folder: Path, figures: dict[str, dict[str, Any]], facts: dict[str, str], seed: int) -> str:
    """The model card: that of `lisa export`, with the figures of the packaged weights, and how they were made."""
    from lisa_core.data.scenes import HELD_OUT
    from lisa_core.data.shapes import COLOURS, SHAPES, TEXTURES
    from lisa_core.model_card import model_card

    meta = json.loads((folder / "lisa.json").read_text(encoding="utf-8"))
    run = {**meta["run"], **figures, "data": "lisa data synth"}
    # The figures are of the weights as they are in the folder, after rounding.
    text = model_card({**meta, "run": run, "rounded_to": None}, "tiny", "apache-2.0").content
    data = (
        f"Scenes drawn by `lisa data synth`: {run['train_sentences']} training sentences an epoch, seed {seed}. The "
        f"figures are of {figures['val']['n']} sentences of val, {figures['test']['n']} of test, seed {DEMO['seed']}."
    )
    text, replaced = re.subn(r"^A folder called .*$", data, text, flags=re.MULTILINE)
    assert replaced == 1, "the card of lisa export has no line about its data"
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    held_out = ", ".join(sorted(" ".join(pair) for pair in HELD_OUT))
    return f"""{text.rstrip()}

## How it was made

By `examples/lisa_tiny/train_tiny.py` of the lisa-core repository, from its own code and scene generator alone: weights
start at random, pictures are drawn. No third-party weights or pictures are in it.

| | |
|---|---|
{rows}

The figures above are those of the packaged weights on the validation and test scenes of `make demo`
(`lisa data synth heldout --train 0`, seed 0; `lisa eval tiny --data heldout --split val`, or `test`), none of which it
was trained on or chosen by: its own scenes have another seed, and training starts only if no picture of the two is the
same. The course of the training is measured on the validation scenes of that seed. Each picture of the test split
shows, and first asks for, a pair of colour and shape that no training scene shows: {held_out}.

## What it is for, and what it cannot do

It shows at once, without a download, that picture and sentence lead to a mask; it is a start for `make demo` and for
trying things out (`lisa train --init-from tiny`). It knows drawn scenes of {", ".join(SHAPES)};
in {", ".join(COLOURS)}; {", ".join(TEXTURES)}. It has never seen a photograph: on one it draws something, and that
means nothing. It reads English in the words of its generator, and answers no questions in words.
"""


def package(made: Path, out: Path) -> None:
    """Put an exported folder where the package keeps it, in place of an older one.

    Raises:
        LisaError: if it is none that anybody could load and trust.
        ValueError: if it is too large.
    """
    from lisa_core.checkpoint import find_checkpoint, vet_checkpoint
    from lisa_core.export import is_exported
    from lisa_core.staging import size_of

    vet_checkpoint(find_checkpoint(made), portable=True)
    if not is_exported(made):
        raise ValueError(f"{made} is not a folder that `lisa export` wrote")
    if size_of(made) > LARGEST:
        raise ValueError(f"{made} has {size_of(made)} bytes, more than {LARGEST}: train a smaller model")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(made, out)
    print(f"\npackaged: {out} ({size_of(out) / 1e6:.1f} MB)")


def parse() -> argparse.Namespace:
    """The flags; what is not given is as tiny.yaml says."""
    from lisa_core.packaged import PRETRAINED

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="the YAML file of settings")
    parser.add_argument("--train", type=int, help="scenes to train on")
    parser.add_argument("--scenes-seed", type=int, help="seed of the scenes")
    parser.add_argument("--epochs", type=int, help="epochs")
    parser.add_argument("--seed", type=int, help="seed of the training")
    parser.add_argument("--work", type=Path, default=Path("runs/lisa-tiny"), help="folder for data, run and figures")
    parser.add_argument("--out", type=Path, default=PRETRAINED / "tiny", help="the packaged folder to replace")
    parser.add_argument("--resume", action="store_true", help="go on with a training that was stopped")
    return parser.parse_args()


def main() -> None:
    """Make the packaged model."""
    from lisa_core.provenance import revision

    options = parse()
    recipe = yaml.safe_load(options.recipe.read_text(encoding="utf-8"))
    command = "python examples/lisa_tiny/train_tiny.py"
    for section, name, flag in (
        *(("scenes", "train", "train"), ("scenes", "seed", "scenes-seed")),
        *(("training", "num_epochs", "epochs"), ("training", "seed", "seed")),
    ):
        value = getattr(options, flag.replace("-", "_"))
        if value is not None:
            recipe[section][name] = value
            command += f" --{flag} {value}"
    if recipe["scenes"]["seed"] == DEMO["seed"]:
        sys.exit("the scenes of seed 0 are those the model is measured on: choose another seed")
    work, run, made = options.work, options.work / "run", options.work / "tiny"
    work.mkdir(parents=True, exist_ok=True)

    manifest = scenes(work / "scenes", recipe["scenes"])
    demo = scenes(work / "demo", {"train": 0, **DEMO})
    shared = shared_pictures(work / "demo", work / "scenes")
    if shared:
        sys.exit(f"the model would be measured on what it was trained on: {shared[0]}; choose another --scenes-seed")
    config = work / "train.yaml"
    config.write_text(yaml.safe_dump(recipe["training"], sort_keys=False), encoding="utf-8")
    start = ("--resume", "auto") if options.resume else ("--overwrite",)
    lisa("train", "--config", str(config), "--data", str(work / "scenes"), "--output-dir", str(run), *start)
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = sum(record["seconds"] for record in map(json.loads, lines) if record["kind"] == "epoch")

    lisa("export", str(run), str(made), "--dtype", "float16", "--license", "apache-2.0", "--overwrite")
    numbers = halve(made / "model.safetensors")
    for half in ("vision", "language"):
        numbers += halve(made / "vlm" / half / "model.safetensors")
    figures = {split: evaluate(made, work / "demo", split, work / f"eval_{split}.json") for split in ("val", "test")}
    whole = evaluate(run, work / "demo", "val", work / "eval_val_float32.json")
    if abs(whole["giou"] - figures["val"]["giou"]) > MOST_LOST:
        sys.exit(f"rounding changed gIoU from {whole['giou']:.4f} to {figures['val']['giou']:.4f}: nothing is packaged")
    environment = json.loads((run / "config.json").read_text(encoding="utf-8"))["environment"]
    facts = {
        "command": f"`{command}`",
        "scenes": f"`lisa data synth`, {recipe['scenes']['train']} to train on, seed {recipe['scenes']['seed']}, "
        f"{100 * recipe['scenes']['comparing']:.0f}% of the sentences compare objects",
        "sha256 of the scenes": f"`{manifest['sha256']}`",
        "sha256 of the demo's validation and test scenes": f"`{demo['sha256']}`",
        "pictures that the two share, by a hash of their pixels (BLAKE2b)": "none",
        "seed of the training": f"{recipe['training'].get('seed', 0)}",
        "revision": revision(HERE),
        "training": f"{seconds / 60:.1f} minutes, validation not counted, on {environment.get('device', 'a CPU')}; "
        f"{os.cpu_count()} cores, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}",
        "parameters": f"{numbers / 1e6:.2f} million, stored in half precision, loaded as float32",
        "gIoU on the demo's validation scenes before rounding": f"{whole['giou']:.4f}",
    }
    (made / "README.md").write_text(card(made, figures, facts, recipe["scenes"]["seed"]), encoding="utf-8")
    package(made, options.out)


if __name__ == "__main__":
    main()
