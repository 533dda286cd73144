"""`lisa models`: the families and checkpoints there are, and the figures of one of them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

_WEIGHTS = {"folder": "folder", "cache": "cached", "hub": "download", "nowhere": "offline", "file": "own file"}
_HEADS = ("family", "checkpoint", "parameters", "vision", "text", "licence", "weights")


def models(
    name: Annotated[
        str | None,
        typer.Argument(help="A family, a known checkpoint, a hub name or a local folder: show its figures."),
    ] = None,
    lora_r: Annotated[int, typer.Option(min=1, help="Rank of the LoRA adapters to count.")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")] = False,
) -> None:
    """List VLM families with their known checkpoints, or show one of them: widths, parameters, prompt, options.

    Figures come from building the architecture without its weights, so nothing large is downloaded or held in memory.
    """
    if name is None:
        from lisa_core.catalogue import catalogue

        listed = catalogue()
        print(json.dumps(listed, indent=2)) if as_json else _print_list(listed)
    else:
        from lisa_core.catalogue import look_up
        from lisa_core.registry import get_registry

        if name not in get_registry().vlms:
            look_up(name)  # a name that means nothing is told before torch is imported

        from lisa_core.cards import card

        shown = card(name, lora_r)
        print(json.dumps(shown, indent=2)) if as_json else _print_card(shown)


def _print_list(listed: dict[str, Any]) -> None:
    families = [family for family in listed["families"] if family["checkpoints"]]
    sam = {"name": "(SAM)", "default_checkpoint": "", "checkpoints": listed["sam"]}
    rows = [_HEADS, *(row for family in [*families, sam] for row in _rows(family))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    for row in rows:  # not rich's table: it would shorten the names, which are there to be copied
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print("\n* the family's default")
    for family in listed["families"]:
        if not family["checkpoints"]:
            print(
                f"{family['name']}: {family['summary']}; default checkpoint: {family['default_checkpoint'] or 'none'}"
            )
    sources = [(known["name"], known["weights"]) for family in families for known in family["checkpoints"]]
    for name, weights in sources:
        if weights["kind"] in ("cache", "folder"):
            print(f"{name}: {weights['line']}")
    for line in sorted({weights["line"] for _, weights in sources if weights["kind"] in ("hub", "nowhere")}):
        print(f"the others: {line}")
    print(f"SAM: {listed['sam'][0]['weights']['line']}")
    for name, distribution in listed["not_installed"].items():
        print(f"{name} is not installed: pip install {distribution}")
    for package, error in listed["not_usable"].items():
        print(f"{package} cannot be used: {error}")
    print("\nFigures, prompt and options of one of them: lisa models FAMILY, HUB_NAME or FOLDER")


def _rows(family: dict[str, Any]) -> list[tuple[str, ...]]:
    """The lines of a family in the table."""
    from lisa_core.catalogue import short_count

    rows: list[tuple[str, ...]] = []
    for known in family["checkpoints"]:
        default = known["name"] in family["default_checkpoint"].split("+")
        rows.append(
            (
                "" if rows else family["name"],
                known["name"] + (" *" if default else ""),
                short_count(known["parameters"]),
                str(known["vision_dim"] or "-"),
                str(known["text_dim"] or "-"),
                known["licence"] + (" (gated)" if known["gated"] else ""),
                _WEIGHTS[known["weights"]["kind"]],
            )
        )
    return rows


def _print_card(shown: dict[str, Any]) -> None:
    for architecture in shown["architectures"]:
        _print_architecture(architecture)
    if shown["missing"]:
        print(f"no figures of its default checkpoint: {shown['missing']}\n")
    family = shown["family"]
    if family is None:
        is_sam = shown["architectures"][0]["model_type"] == "sam"
        part = "SAM, chosen with --sam" if is_sam else "one half of a --vlm clip-llm"
        print(f"This is no vision-language model, but {part}.")
        return
    note = "a checkpoint's own chat template goes first"
    prompt = "the checkpoint's own chat template" if shown["prompt"] is None else f"{shown['prompt']!r} ({note})"
    options = [("option", _option(option)) for option in family["options"]]
    _print_lines(
        f"family {family['name']} ({family['package']} {family['version']}): {family['summary']}",
        [
            ("default", family["default_checkpoint"] or "none"),
            ("model types", ", ".join(family["model_types"]) or "none of its own"),
            ("image geometry", family["geometry"] or "its plugin does not say"),
            ("prompt", prompt),
            *(options or [("options", "none")]),
        ],
    )


def _print_architecture(architecture: dict[str, Any]) -> None:
    from lisa_core.catalogue import short_count

    total, used = architecture["parameters"], architecture["used_parameters"]
    parameters = f"{total:,} ({short_count(total)})"
    if used != total:
        parameters += f", of which the vision tower, the part that is used, has {used:,}"
    lines = [
        ("class", f"{architecture['class_name']} ({architecture['model_type']})"),
        ("vision dim", architecture["vision_dim"]),
        ("text dim", architecture["text_dim"]),
        ("parameters", parameters),
    ]
    adapters = architecture["lora_parameters"]
    if adapters is not None:
        share = 100 * adapters / (total + adapters)
        lines.append((f"LoRA r={architecture['lora_r']}", f"{adapters:,} trainable ({share:.2f}% of all)"))
        lines.append(("LoRA targets", ", ".join(architecture["lora_targets"]) or "none found"))
    licence = architecture["licence"] or "see its model card"
    lines += [
        ("licence", licence + (" (gated: `hf auth login`)" if architecture["gated"] else "")),
        ("weights", architecture["weights"]["line"]),
        ("config", architecture["config"]),
    ]
    _print_lines(architecture["name"], lines)


def _print_lines(title: str, lines: list[tuple[str, Any]]) -> None:
    print(title)
    for label, value in lines:
        if value is not None:
            print(f"  {label:<15} {value}")
    print()


def _option(option: dict[str, Any]) -> str:
    default = "as the checkpoint says" if option["default"] is None else json.dumps(option["default"])
    return f"--vlm-option {option['name']}=VALUE: {option['help']} ({option['takes']}; default: {default})"
