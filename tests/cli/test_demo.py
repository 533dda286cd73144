from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from lisa_core.server import serve

pytest.importorskip("fastapi")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["absent"], "no checkpoint at absent"),
        (["--port", "70000"], "Invalid value for '--port'"),
        (["--host", "no such host"], "nothing can be served at no such host"),
        (["--device", "abacus"], "'abacus' is not a device"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, refusal, args, said):
    monkeypatch.chdir(tmp_path)
    ports = [] if "--port" in args else ["--port", "0"]
    assert said in refusal("demo", *args, *ports, "--no-browser")


def test_a_taken_port_is_one_line(refusal):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "give another --port" in refusal("demo", "--port", str(taken.getsockname()[1]), "--no-browser")


def test_its_help_names_the_extra_it_needs(invoke):
    assert "pip install 'lisa-core[serve]'" in invoke("demo", "--help").output


def test_without_the_extra_it_says_what_to_install(monkeypatch, refusal):
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert "pip install 'lisa-core[serve]'" in refusal("demo", "--no-browser")


def test_the_browser_is_opened_and_others_are_warned_of(monkeypatch, invoke):
    opened, served = [], []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(serve, "run", lambda app, listener: served.append(app.title))
    result = invoke("demo", "--port", "0", "--host", "0.0.0.0")
    assert result.exit_code == 0 and served == ["lisa demo"]
    (address,) = opened
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address) and f"tiny answers at {address}" in result.stdout
    assert "no password" in result.stderr
    assert "no password" not in invoke("demo", "--port", "0", "--no-browser").stderr and len(opened) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_it_serves_until_ctrl_c_in_a_real_process(tmp_path):
    command = [sys.executable, "-m", "lisa_core", "demo", "--port", "0", "--no-browser", "--device", "cpu"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        try:
            line = process.stdout.readline()
            (address,) = re.findall(r"http://127\.0\.0\.1:\d+", line)
            with urllib.request.urlopen(f"{address}/api/about", timeout=60) as response:
                assert json.load(response)["model"] == "tiny"
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, errors) == (0, "", "")
