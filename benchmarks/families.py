"""Every family's tiny model on the same scenes with the same budget: what it reaches held out, and how fast it trains.

Runs the demo for each family and prints a table in Markdown; `--write docs/families.md` puts it between that page's
markers. Rates are given beside smolvlm's in the same run: absolute times say more about the machine.

    .venv/bin/python benchmarks/families.py --epochs 4 --write docs/families.md
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

FAMILIES = ("smolvlm", "llava", "qwenvl", "paligemma", "clip-llm")
BASELINE = FAMILIES[0]
DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
MARKERS = re.compile(r"(<!-- families.py -->\n).*?(<!-- /families.py -->)", re.DOTALL)


def run_demo(family: str, out: Path, epochs: int) -> None:
    subprocess.run([sys.executable, str(DEMO), "--vlm", family, "--out", str(out), "--epochs", str(epochs)], check=True)


def figures(run: Path) -> dict[str, float]:
    """What a demo run left behind: held-out figures and training samples a second, validation apart."""
    held_out = json.loads((run / "eval_val.json").read_text())
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "step"]
    epochs = [record for record in records if record["kind"] == "epoch" and "val" not in record]
    samples = sum(record["masks"] for record in steps if record["epoch"] in {epoch["epoch"] for epoch in epochs})
    return {
        "giou": held_out["giou"],
        "listening": held_out["listening"],
        "rate": samples / sum(epoch["seconds"] for epoch in epochs),
    }


def parameters(family: str) -> int:
    from lisa_core.registry import get_registry

    vlm = get_registry().load_vlm_class(family).tiny()
    return sum(parameter.numel() for parameter in vlm.parameters())


def table(found: dict[str, dict[str, float]], epochs: int) -> str:
    base = found[BASELINE]["rate"]
    lines = [
        f"| family | parameters of `tiny` | gIoU | listening | samples/s | samples/s beside {BASELINE} |",
        "|---|---|---|---|---|---|",
    ]
    for family, row in found.items():
        lines.append(
            f"| `{family}` | {parameters(family) / 1e6:.1f} M | {row['giou']:.3f} | {row['listening']:.1%} "
            f"| {row['rate']:.0f} | {row['rate'] / base:.2f} x |"
        )
    lines.append("")
    lines.append(f"Validation split of the demo's scenes after {epochs} epochs from random weights, seed 0.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for scenes and runs")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), help="which to run or read")
    parser.add_argument("--reuse", action="store_true", help="read runs that --out already holds")
    parser.add_argument("--write", type=Path, help="page whose table is to be replaced")
    options = parser.parse_args()
    for family in options.families:
        if not (options.reuse and (options.out / family / "eval_val.json").exists()):
            run_demo(family, options.out, options.epochs)
    text = table({family: figures(options.out / family) for family in options.families}, options.epochs)
    print(text)
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        if not MARKERS.search(page):
            sys.exit(f"{options.write} has no <!-- families.py --> markers")
        options.write.write_text(MARKERS.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main()
