"""`lisa demo`: a local web page on which a model answers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def demo(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Checkpoint, run folder (its best checkpoint), ORG/NAME on the hub, or tiny, the packaged model.",
        ),
    ] = "tiny",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to serve at; 0: any that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to serve at; with 0.0.0.0 other machines may use the model, too.")
    ] = "127.0.0.1",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Open a web page: choose a picture, type a sentence, see the mask.

      lisa demo                          (the small model that comes with this package: drawn shapes)

      lisa demo runs/mine --port 8080

    The page is served from this machine, loads nothing from elsewhere and sends pictures nowhere else. Ctrl-C ends it.
    Needs: pip install 'lisa-core\\[serve]'
    """
    from lisa_core.server.serve import address_of, check_installed, listen, run

    check_installed()
    with listen(host, port) as listener:
        from lisa_core.segmenter import Segmenter
        from lisa_core.server.app import create_app

        app = create_app(Segmenter.load(model, device), model)
        url = address_of(host, listener)
        print(f"{model} answers at {url} (Ctrl-C ends it)", flush=True)
        if not host.startswith("127.") and host not in ("localhost", "::1"):
            print(f"note: whoever reaches {host} may use it, there is no password", file=sys.stderr)
        if browser:
            import webbrowser

            webbrowser.open(url)
        run(app, listener)
