"""How many lines each family's adapter takes: code, without blank lines, comments and docstrings.

Prints a table in Markdown; `--write docs/write-an-adapter.md` puts it between that page's markers.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
ADAPTERS = {
    "`llava` (LLaVA-1.5 and LLaVA-NeXT)": ROOT / "plugins/lisa_llava/src/lisa_llava",
    "`smolvlm`": ROOT / "plugins/lisa_smolvlm/src/lisa_smolvlm",
    "`qwenvl` (Qwen2-VL, Qwen2.5-VL and Qwen3-VL)": ROOT / "plugins/lisa_qwenvl/src/lisa_qwenvl",
    "`paligemma`": ROOT / "plugins/lisa_paligemma/src/lisa_paligemma",
    "`internvl` (the example)": ROOT / "examples/lisa_example_vlm/src/lisa_example_vlm",
}
MARKERS = re.compile(r"(<!-- adapter_lines.py -->\n).*?(<!-- /adapter_lines.py -->)", re.DOTALL)
_NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def code_lines(path: Path) -> int:
    source = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(lines)


def table() -> str:
    rows = ["| family | adapter (`vlm.py`) | its tiny models (`tiny.py`) |", "|---|---|---|"]
    for name, folder in ADAPTERS.items():
        rows.append(f"| {name} | {code_lines(folder / 'vlm.py')} | {code_lines(folder / 'tiny.py')} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="page whose table is to be replaced")
    options = parser.parse_args()
    print(table())
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        if not MARKERS.search(page):
            sys.exit(f"{options.write} has no <!-- adapter_lines.py --> markers")
        options.write.write_text(MARKERS.sub(lambda match: f"{match[1]}{table()}\n{match[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main()
