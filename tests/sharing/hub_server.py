"""A small Hub on this machine: what huggingface_hub calls to make a repository and upload to it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Hub:
    """Users by token, and the files of repositories: name -> path -> content.

    Attributes:
        refused: repositories that nobody may write to.
        calls: method and path of each request, in their order.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.users = {"hf_ada": "ada", "hf_reader": "ada"}
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.refused: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.calls: list[str] = []


@contextmanager
def running() -> Iterator[Hub]:
    class Handler(_Handler):
        pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Handler.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        self.hub.calls.append(f"{self.command} {path}")
        status, content = self._route(path, body)
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _route(self, path: str, body: bytes) -> tuple[int, Any]:
        hub = self.hub
        if path.startswith("/stored/"):
            digest = path.rpartition("/")[2]
            assert hashlib.sha256(body).hexdigest() == digest
            hub.stored[digest] = body
            return 200, {}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        user = hub.users.get(token)
        if user is None:
            return 401, {"error": "Invalid username or password."}
        if path == "/api/whoami-v2":
            role = "read" if token == "hf_reader" else "write"
            orgs = [{"name": "club"}]
            return 200, {"name": user, "orgs": orgs, "auth": {"accessToken": {"role": role}}}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or user}/{asked['name']}"
            if name in hub.files:
                return 409, {"url": f"{hub.address}/{name}", "error": "it exists"}
            hub.files[name] = {}
            hub.private[name] = bool(asked.get("private") or asked.get("visibility") == "private")
            return 200, {"url": f"{hub.address}/{name}", "name": name}
        return self._of_repository(path, body)

    def _of_repository(self, path: str, body: bytes) -> tuple[int, Any]:
        hub = self.hub
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name, rest = "/".join(parts[:2]).removesuffix(".git"), "/".join(parts[2:])
        if name in hub.refused:
            return 403, {"error": "You don't have the rights"}
        if name not in hub.files:
            return 404, {"error": "Repository not found"}
        if rest == "info/lfs/objects/batch":
            objects = [
                {
                    **wanted,
                    "actions": {"upload": {"href": f"{hub.address}/stored/{wanted['oid']}"}},
                }
                for wanted in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        if rest.startswith("preupload"):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        if rest.startswith("commit"):
            return 200, self._commit(name, body)
        return 200, {"id": name, "sha": "0" * 40, "siblings": []}

    def _commit(self, name: str, body: bytes) -> Any:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.hub.files[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.files[name][value["path"]] = self.hub.stored[value["oid"]]
        return {
            "success": True,
            "commitOid": "1" * 40,
            "commitUrl": f"{self.hub.address}/{name}/commit/{'1' * 40}",
        }
