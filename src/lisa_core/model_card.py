"""The model card (`README.md`) of an exported model, made from what its `lisa.json` holds; it invents nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from lisa_core.catalogue import known_checkpoint

_MEASURES = {
    "giou": "gIoU (mean IoU of the masks)",
    "ciou": "cIoU (summed intersection over summed union)",
    "listening": "listening accuracy (does a sentence's mask fit its own object better than another's?)",
}
_TASK = "Language-instructed segmentation"
_MOST_EPOCHS = 20
_CORE = "lisa-core"


def model_card(meta: dict[str, Any], name: str, licence: str | None = None) -> ModelCard:
    """The card of a model.

    Args:
        meta: its `lisa.json`, with the entries that `lisa export` adds.
        name: what it is called.
        licence: an identifier of the hub's (`apache-2.0`); by default that of the base, if the family lists it.
    """
    run = meta["run"]
    data = run.get("data")
    results = [
        EvalResult(
            task_type="image-segmentation",
            task_name=_TASK,
            dataset_type=data or "unknown",
            dataset_name=data or "unknown",
            dataset_split=split,
            metric_type=measure,
            metric_name=title,
            metric_value=round(run[split][measure], 4),
        )
        for split in ("val", "test")
        if run.get(split)
        for measure, title in _MEASURES.items()
        if run[split].get(measure) is not None
    ]
    base = meta["base"]
    front = ModelCardData(
        library_name=_CORE,
        pipeline_tag="image-segmentation",
        base_model=base[0] if len(base) == 1 else base or None,
        base_model_relation=_relation(meta) if base else None,
        license=licence or _licence(base),
        tags=[_CORE, "lisa", "referring-expression-segmentation", "reasoning-segmentation", meta["plugin"]["family"]],
        model_name=name if results else None,
        eval_results=results or None,
    )
    sections = [_introduction(meta, name), _use(meta, name), _figures(run), _data(run), _training(run), _limits(meta)]
    body = "\n\n".join("\n".join(section) for section in sections)
    return ModelCard(f"---\n{front.to_yaml()}\n---\n\n{body}\n")


def _relation(meta: dict[str, Any]) -> str:
    return "adapter" if meta["export"]["adapters"] else "finetune"


def _licence(base: Sequence[str]) -> str | None:
    """The licence of all bases, as the hub calls it, if the families list them and it is one."""
    found = [known_checkpoint(name) for name in base]
    named = {None if known is None else known[0].licence for known in found}
    licence = named.pop() if len(named) == 1 else None
    return None if licence is None or " " in licence else licence


def _introduction(meta: dict[str, Any], name: str) -> Iterator[str]:
    base = " and ".join(f"[{_plain(one)}](https://huggingface.co/{one})" for one in meta["base"])
    model = meta["model"]
    features = "the VLM's own patch features" if model["mask_features"] == "vlm" else "SAM's image features"
    yield f"# {_plain(name)}\n"
    yield f'{_TASK}: a picture and a sentence go in ("the mug you could still drink from"), a mask comes out.'
    yield (
        f"A vision-language model of the family `{meta['plugin']['family']}` reads the two ({model['fusion']} fusion), "
        f"SAM's mask decoder draws on {features}."
    )
    if meta["from_scratch"]:
        yield "The VLM is small and was trained from random weights."
    else:
        yield f"It was trained from {base}." if base else "Which model it was trained from is not recorded."


def _use(meta: dict[str, Any], name: str) -> Iterator[str]:
    export, plugin = meta["export"], meta["plugin"]
    packages = [f"{_CORE}>={export['version']}"]
    if plugin["distribution"] != _CORE:
        packages.append(f"{plugin['distribution']}>={plugin['version']}")
    pip = " ".join(f'"{package}"' for package in packages)
    yield "## Use\n"
    yield f"    pip install {pip}\n"
    yield "```python"
    yield "from lisa_core import Segmenter\n"
    yield f"segmenter = Segmenter.load({json.dumps(name, ensure_ascii=False)})  # this folder, or ORG/NAME on the hub"
    yield 'segmenter.set_image("photo.jpg")'
    yield 'ring = segmenter.segment("the red ring")  # ring.mask: bool [H, W], ring.score: 0..1'
    yield "```\n"
    yield f'    lisa segment {quote(" ".join(name.split()))} photo.jpg "the red ring" -o out\n'
    if not export["contains_base"]:
        yield f"The base, {' and '.join(meta['base'])}, is not in this folder: it is read from the hub."
    elif export["adapters"]:
        kind = meta["tuning"]
        bits = kind["vlm_quantization"] if kind["vlm_quantization"] != "auto" else "4bit"
        quantized = kind["vlm_use_quantization"] or kind["vlm_quantization"] != "auto"
        yield "All weights are in this folder: the base in `vlm`, LoRA adapters beside it in `model.safetensors`."
        if quantized:
            yield f"The base is stored whole and loaded in {bits}, as in training (`pip install {_CORE}[quantize]`)."
    else:
        pair = "+" in meta["model"]["vlm_model_name"]
        part = "`vlm` holds two checkpoints" if pair else "`vlm` is a checkpoint"
        yield f"All weights are in this folder; {part} that transformers loads by itself."


def _figures(run: dict[str, Any]) -> Iterator[str]:
    yield "## Figures\n"
    splits = [(split, run[split]) for split in ("val", "test") if run.get(split)]
    if not splits:
        yield "None are recorded with this checkpoint."
        return
    head = ("", *(split for split, _ in splits))
    rows = [(title, *(_number(figures.get(key)) for _, figures in splits)) for key, title in _MEASURES.items()]
    for key, words in (("blank_giou", "blanked"), ("swapped_giou", "swapped for another object's")):
        rows.append((f"gIoU with the sentence {words}", *(_number(figures.get(key)) for _, figures in splits)))
    for guess in ("largest_object", "centre_blob"):
        values = [_number((figures.get("baselines") or {}).get(guess)) for _, figures in splits]
        rows.append((f"gIoU of a guess that never reads it: {guess.replace('_', ' ')}", *values))
    rows.append(("sentences", *(str(figures.get("n", "?")) for _, figures in splits)))
    yield from _table(head, [row for row in rows if any(cell != "-" for cell in row[1:])])
    epochs = run.get("epochs") or []
    if len(epochs) > 1:
        shown = _thinned(epochs)
        yield f"\nThe course of the training{'' if len(shown) == len(epochs) else ', some of its epochs'}:\n"
        yield from _table(
            ("epoch", "training loss", "val gIoU", "val cIoU"),
            [
                (
                    str(record["epoch"]),
                    _number(record.get("train_loss")),
                    *(_number((record.get("val") or {}).get(key)) for key in ("giou", "ciou")),
                )
                for record in shown
            ],
        )


def _thinned(epochs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most so many of the epochs, evenly spread, the first and the last among them."""
    last, most = len(epochs) - 1, min(len(epochs), _MOST_EPOCHS)
    return [epochs[round(index * last / (most - 1))] for index in range(most)]


def _data(run: dict[str, Any]) -> Iterator[str]:
    yield "## Data\n"
    if not run.get("data"):
        yield "Not recorded with this checkpoint."
        return
    counts = [f"{run['train_sentences']} training sentences an epoch"] if run.get("train_sentences") else []
    counts += [f"{run[split]['n']} of {split}" for split in ("val", "test") if run.get(split) and "n" in run[split]]
    yield f"A folder called `{_plain(run['data'])}`: {', '.join(counts) or 'how many sentences is not recorded'}."


def _training(run: dict[str, Any]) -> Iterator[str]:
    yield "## Training\n"
    if run.get("step") is not None:
        yield f"This checkpoint is the one after step {run['step']} (epoch {run.get('epoch', '?')}).\n"
    settings, environment = run.get("settings"), run.get("environment")
    if settings is None:
        yield "The settings are not recorded with this checkpoint."
        return
    yield "Settings that differ from the defaults of `lisa train`:\n"
    yield from _table(
        ("setting", "value"),
        [(f"`--{key.partition('.')[2].replace('_', '-')}`", f"`{_plain(value)}`") for key, value in settings.items()],
    )
    if environment:
        versions = environment.get("versions") or {}
        told = ", ".join(f"{package} {version}" for package, version in versions.items())
        machine = f"Python {environment.get('python', '?')}, {environment.get('device', '?')}"
        yield f"\nOn {_plain(machine)}, {environment.get('world_size', 1)} process(es): {_plain(told)}."


def _limits(meta: dict[str, Any]) -> Iterator[str]:
    run = meta["run"]
    yield "## Limits\n"
    measured = any(run.get(split) for split in ("val", "test"))
    if measured:
        yield "- The figures are of the data named above; nothing is known of how it does on other pictures."
    else:
        yield "- How good it is has not been recorded: measure it with `lisa eval` before you rely on it."
    if measured and not run.get("test"):
        yield "- The checkpoint was chosen by its validation figures, which are therefore a little too good."
    if meta.get("merged_from"):
        yield (
            f"- Its adapters were trained beside weights rounded to {meta['merged_from']} and are merged into whole "
            "ones, so its masks can differ slightly from those the figures are of."
        )
    if meta.get("rounded_to"):
        yield f"- The VLM's weights were rounded to {meta['rounded_to']} after training; the figures are from before."
    yield "- It draws for every sentence: no answer of its means that there is no such object in the picture."
    yield "- `score` is the mask decoder's own estimate of its IoU, not a probability that the object is there."
    if meta["base"]:
        yield "- The licence of the base holds for its weights."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "-"


def _plain(value: Any) -> str:
    """A value as it may stand in code or in a line of Markdown."""
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return " ".join(text.replace("`", "'").replace("<", "(").replace(">", ")").replace('"', "'").split())
