from __future__ import annotations

import socket

import pytest

from lisa_core.errors import ConfigError
from lisa_core.server import serve
from lisa_core.server.serve import address_of, check_installed, listen


def test_a_free_port_is_found_and_a_taken_one_refused():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()  # it waits for whoever serves
        assert address_of("localhost", listener) == f"http://localhost:{port}"
        assert address_of("0.0.0.0", listener) == f"http://127.0.0.1:{port}"
        assert address_of("::1", listener) == f"http://[::1]:{port}"
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1, port {port} \(.*in use.*\): give another --port"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1", "x" * 300])
def test_an_address_of_no_machine_or_of_another_is_refused(host):
    with pytest.raises(ConfigError, match="nothing can be served at"):
        listen(host, 0)


def test_what_is_missing_is_named(monkeypatch):
    check_installed()
    find = serve.find_spec
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name != "fastapi" else find(name))
    with pytest.raises(ConfigError, match=r"needs uvicorn, python-multipart: `pip install 'lisa-core\[serve\]'`"):
        check_installed()
