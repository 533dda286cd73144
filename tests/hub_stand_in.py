"""A hub for one test, on 127.0.0.1: the parts of the Hugging Face hub's HTTP interface that pushing and pulling use.

Repositories are commits of files, as on the hub: small files are git blobs, safetensors go through the LFS protocol. No
network is needed, and nothing of huggingface_hub is replaced but the address (`HF_ENDPOINT`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_stand_in"
"""The one token that may write."""
READER = "hf_reader"
"""A token that may read what is public, and write nothing."""


@dataclass
class Repository:
    """A model repository."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        """Let a branch hold these files; returns the commit's name."""
        self.messages.append(message)
        name = hashlib.sha1(f"{branch}{len(self.messages)}{sorted(files)}".encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name

    @property
    def files(self) -> dict[str, bytes]:
        """What `main` holds."""
        return self.commits[self.branches["main"]]


class Refused(Exception):
    """An answer that is no success: status and the hub's own code for it."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(status)
        self.status, self.code, self.message = status, code, message


class StandIn:
    """The hub; `with StandIn() as hub` serves it."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        """Method and path of each."""
        self.cut_after: int | None = None
        """Bytes after which every answer to a download ends, as when the line goes dead."""

    def __enter__(self) -> StandIn:
        hub = self

        class Handler(_Handler):
            stand_in = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environ(self, home: object, token: str | None = TOKEN) -> dict[str, str]:
        """Environment variables under which huggingface_hub talks to it, and to nobody else."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_TOKEN": token or "",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        path = unquote(url.path)
        self.stand_in.requests.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            for pattern, methods, name in _ROUTES:
                match = re.fullmatch(pattern, path)
                if match and self.command in methods:
                    return getattr(self, name)(*match.groups())
            raise Refused(404)
        except Refused as refused:
            self._send(refused.status, b"", {"X-Error-Code": refused.code, "X-Error-Message": refused.message})

    def _send(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    @property
    def token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def _repository(self, name: str, write: bool = False) -> Repository:
        if self.token not in (None, TOKEN, READER):
            raise Refused(401, message="Invalid credentials in Authorization header")
        found = self.stand_in.repositories.get(name)
        if found is None or (found.private and self.token != TOKEN):
            # Without a token the hub does not tell what is private from what is not there.
            raise Refused(404 if self.token else 401, "RepoNotFound", "Repository not found")
        if write and self.token != TOKEN:
            raise Refused(403, message="You don't have the rights to do this")
        return found

    def _files(self, repository: Repository, revision: str) -> tuple[str, dict[str, bytes]]:
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, repository.commits[commit]

    def create(self) -> None:
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if self.token != TOKEN:
            raise Refused(403, message="You don't have the rights to create a model under this namespace")
        if name in self.stand_in.repositories:
            raise Refused(409, message="You already created this model repo")
        made = Repository(private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
        made.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        self.stand_in.repositories[name] = made
        self._json({"url": f"{self.stand_in.endpoint}/{name}", "name": name})

    def info(self, name: str, revision: str | None) -> None:
        repository = self._repository(name)
        commit, files = self._files(repository, revision or "main")
        siblings = [{"rfilename": path} for path in files]
        self._json({"id": name, "modelId": name, "sha": commit, "private": repository.private, "siblings": siblings})

    def tree(self, name: str, revision: str) -> None:
        _, files = self._files(self._repository(name), revision)
        self._json([{"type": "file", "path": path, **_described(path, content)} for path, content in files.items()])

    def validate(self) -> None:
        text = json.loads(self.body)["content"]
        assert text.startswith("---\n"), "a card without front matter"
        self._json({"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        _, files = self._files(self._repository(name, write=True), revision)
        answer = [
            {
                "path": entry["path"],
                "uploadMode": "lfs" if entry["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": _described(entry["path"], files[entry["path"]])["oid"] if entry["path"] in files else None,
            }
            for entry in json.loads(self.body)["files"]
        ]
        self._json({"files": answer})

    def batch(self, name: str) -> None:
        self._repository(name, write=True)
        answer = []
        for wanted in json.loads(self.body)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.stand_in.objects:
                entry["actions"] = {"upload": {"href": f"{self.stand_in.endpoint}/lfs/{wanted['oid']}"}}
            answer.append(entry)
        self._json({"transfer": "basic", "objects": answer})

    def store(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, message="not what was announced")
        self.stand_in.objects[oid] = self.body
        self._send(200, b"", {})

    def commit(self, name: str, revision: str) -> None:
        repository = self._repository(name, write=True)
        _, before = self._files(repository, revision)
        files, summary = dict(before), ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                summary = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.stand_in.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise Refused(400, message=entry["key"])
        made = repository.commit(revision, files, summary)
        self._json({"commitUrl": f"{self.stand_in.endpoint}/{name}/commit/{made}", "commitOid": made})

    def branch(self, name: str, branch: str) -> None:
        repository = self._repository(name, write=True)
        if branch in repository.branches:
            raise Refused(409, message="Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        self._json({})

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        if repository.gated:
            raise Refused(403, "GatedRepo", "Access to this model is restricted")
        commit, files = self._files(repository, revision)
        if path not in files:
            raise Refused(404, "EntryNotFound", "Entry not found")
        content, about = files[path], _described(path, files[path])
        etag = about["lfs"]["oid"] if "lfs" in about else about["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        first = int(start[1]) if start else 0
        body = content[first:]
        if start:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        cut = self.stand_in.cut_after
        if cut is not None and self.command == "GET" and len(body) > cut:
            self._send(206 if start else 200, body[:cut], headers, length=len(body))
            self.close_connection = True
            return
        self._send(206 if start else 200, body, headers)


_NAME = r"([^/]+/[^/]+)"
_ROUTES = (
    (r"/api/repos/create", ("POST",), "create"),
    (r"/api/validate-yaml", ("POST",), "validate"),
    (rf"/api/models/{_NAME}/preupload/(.+)", ("POST",), "preupload"),
    (rf"/api/models/{_NAME}/commit/(.+)", ("POST",), "commit"),
    (rf"/api/models/{_NAME}/branch/(.+)", ("POST",), "branch"),
    (rf"/api/models/{_NAME}/tree/(.+)", ("GET",), "tree"),
    (rf"/api/models/{_NAME}(?:/revision/(.+))?", ("GET",), "info"),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", ("POST",), "batch"),
    (r"/lfs/([0-9a-f]{64})", ("PUT",), "store"),
    (rf"/{_NAME}/resolve/([^/]+)/(.+)", ("GET", "HEAD"), "resolve"),
)


def _described(path: str, content: bytes) -> dict[str, Any]:
    """A file as the hub lists it; `oid` is git's, of the pointer for what is stored through LFS."""
    if not path.endswith(".safetensors"):
        return {"size": len(content), "oid": _blob(content)}
    sha = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(content)}\n".encode()
    lfs = {"oid": sha, "size": len(content), "pointerSize": len(pointer)}
    return {"size": len(content), "oid": _blob(pointer), "lfs": lfs}


def _blob(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
