"""From an application to a server that runs until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
from importlib.util import find_spec

from lisa_core.errors import ConfigError

_NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}


def check_installed() -> None:
    """Raise ConfigError unless the extra `lisa-core[serve]` is installed."""
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise ConfigError(f"lisa demo needs {', '.join(missing)}: `pip install 'lisa-core[serve]'`")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that whoever comes before the model is loaded waits.

    Args:
        host: a name or address of this machine.
        port: 0 for any that is free.

    Raises:
        ConfigError: if the port is taken, or the address is not this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family)
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise ConfigError(
            f"nothing can be served at {host}, port {port} ({reason}): give another --port (0: any that is free), or "
            "--host 127.0.0.1"
        ) from error


def address_of(host: str, listener: socket.socket) -> str:
    """What to type into a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"


def run(app: object, listener: socket.socket) -> None:
    """Serve an ASGI application until Ctrl-C, or SIGTERM."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))  # type: ignore[arg-type]
    with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn once it has stopped
        server.run(sockets=[listener])
