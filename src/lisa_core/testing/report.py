"""The results of the conformance kit as a page or as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from lisa_core.discovery import core_version
from lisa_core.errors import ConfigError
from lisa_core.registry import get_registry
from lisa_core.testing.run import Result
from lisa_core.types import API_VERSION

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2026 }
table { border-collapse: collapse; width: 100% } td { padding: .5rem .6rem; border-top: 1px solid #d0d5dc }
td:first-child { width: 7rem; white-space: nowrap } td { vertical-align: top } code { color: #6b7280 }
.passed { color: #19874a } .failed { color: #c82d2d; font-weight: 600 } .not { color: #707882 }
p.what { margin: .2rem 0; color: #c82d2d } p.why { margin: .2rem 0; color: #707882 } p.mend { margin: .2rem 0 }
"""


def write_report(path: Path, family: str, results: Sequence[Result]) -> None:
    """Write the results to a file whose ending, `.html` or `.json`, says in which form.

    Raises:
        ConfigError: if the file cannot be written, or has another ending.
    """
    forms = {".html": _html, ".json": _json}
    if path.suffix not in forms:
        raise ConfigError(f"--report {path}: give a name that ends in .html or .json")
    try:
        path.write_text(forms[path.suffix](family, results), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--report {path} cannot be written ({error}): choose another file") from error


def _about(family: str) -> dict[str, object]:
    entry = get_registry().vlms.get(family)
    package = entry.record.package if entry is not None else None
    return {"family": family, "package": package, "lisa_core": core_version(), "api_version": API_VERSION}


def _json(family: str, results: Sequence[Result]) -> str:
    passed = all(result.status != "failed" for result in results)
    record = {**_about(family), "passed": passed, "checks": [dataclasses.asdict(result) for result in results]}
    return json.dumps(record, indent=2) + "\n"


def _html(family: str, results: Sequence[Result]) -> str:
    about = _about(family)
    failed = sum(result.status == "failed" for result in results)
    verdict = f"{failed} of {len(results)} checks failed" if failed else "no check failed"
    rows = "\n".join(_row(result) for result in results)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(family)}: {verdict}</title><style>{_STYLE}</style></head><body>
<h1>{escape(family)}: {verdict}</h1>
<p>{escape(str(about["package"]))}, lisa-core {escape(str(about["lisa_core"]))}, plugin API {about["api_version"]}</p>
<table>
{rows}
</table></body></html>
"""


def _row(result: Result) -> str:
    text = escape(result.title)
    if result.message:
        kind = "what" if result.status == "failed" else "why"
        text += f'<p class="{kind}">{escape(result.message)}</p>'
    if result.mend:
        text += f'<p class="mend">To mend it: {escape(result.mend)}</p>'
    status = f'<span class="{result.status.split()[0]}">{result.status}</span>'
    return f"<tr><td>{status}</td><td>{text}</td><td><code>{escape(result.name)}</code></td></tr>"
