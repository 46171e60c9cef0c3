"""A server that answers as Google's storage does (its XML interface), a process of its own.

    python gcs_server.py PORT

The emulators of the package index enforce no precondition, on which a lock rests: this one does. It
keeps objects in memory. See cloud.google.com/storage/docs/xml-api/reference-headers.
"""

from __future__ import annotations

import datetime
import email.utils
import hashlib
import itertools
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Stored(NamedTuple):
    content: bytes
    generation: int
    when: datetime.datetime

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"'


BUCKETS: dict[str, dict[str, Stored]] = {}
PARTS: dict[str, dict[int, bytes]] = {}
GENERATIONS = itertools.count(1_700_000_000_000_000)
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _asked(self) -> tuple[str, str, dict[str, str], bytes]:
        parts = urlsplit(self.path)
        bucket, _, name = unquote(parts.path).lstrip("/").partition("/")
        query = {n: x[0] for n, x in parse_qs(parts.query, keep_blank_values=True).items()}
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionError("the client is gone")
        return bucket, name, query, body

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode())

    def _facts(self, stored: Stored) -> dict[str, str]:
        return {
            "ETag": stored.tag,
            "Last_Modified": email.utils.format_datetime(stored.when, usegmt=True),
            "x_goog_generation": str(stored.generation),
            "Content_Type": "application/octet-stream",
        }

    def do_GET(self) -> None:
        bucket, name, query, _ = self._asked()
        with LOCK:
            objects = BUCKETS.get(bucket)
            if objects is None:
                return self._refuse(404, "NoSuchBucket")
            if not name:
                return self._list(objects, query)
            stored = objects.get(name)
        if stored is None:
            return self._refuse(404, "NoSuchKey")
        facts, body = self._facts(stored), stored.content
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and self.command == "GET":
            first, _, last = asked[6:].partition("-")
            end = int(last) + 1 if last else len(body)
            facts["Content_Range"] = f"bytes {first}-{min(end, len(body)) - 1}/{len(body)}"
            return self._answer(206, body[int(first) : end], **facts)
        return self._answer(200, body, **facts, Content_Length=str(len(body)))

    do_HEAD = do_GET  # noqa: N815

    def _list(self, objects: dict[str, Stored], query: dict[str, str]) -> None:
        rows = [
            f"<Contents><Key>{escape(name)}</Key><Size>{len(stored.content)}</Size>"
            f"<ETag>{escape(stored.tag)}</ETag>"
            f"<LastModified>{stored.when:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified></Contents>"
            for name, stored in sorted(objects.items())
            if name.startswith(query.get("prefix", ""))
        ]
        body = f"<?xml version='1.0'?><ListBucketResult>{''.join(rows)}</ListBucketResult>"
        self._answer(200, body.encode(), Content_Type="application/xml")

    def do_PUT(self) -> None:
        bucket, name, query, body = self._asked()
        if "uploadId" in query:
            PARTS[query["uploadId"]][int(query["partNumber"])] = body
            return self._answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')
        if not name:
            BUCKETS.setdefault(bucket, {})
            return self._answer(200)
        return self._put(bucket, name, body)

    def _put(self, bucket: str, name: str, body: bytes, answer: bytes = b"") -> None:
        wanted = self.headers.get("x-goog-if-generation-match")
        with LOCK:
            objects = BUCKETS.get(bucket)
            if objects is None:
                return self._refuse(404, "NoSuchBucket")
            there = objects[name].generation if name in objects else 0
            if wanted is not None and int(wanted) != there:
                return self._refuse(412, "PreconditionFailed")
            stored = Stored(body, next(GENERATIONS), datetime.datetime.now(datetime.UTC))
            objects[name] = stored
        return self._answer(200, answer, **self._facts(stored))

    def do_POST(self) -> None:
        bucket, name, query, _ = self._asked()
        if "uploads" in query:
            upload = f"u{next(GENERATIONS)}"
            PARTS[upload] = {}
            body = (
                "<?xml version='1.0'?><InitiateMultipartUploadResult>"
                f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
            return self._answer(200, body.encode(), Content_Type="application/xml")
        parts = PARTS.pop(query["uploadId"])
        whole = b"".join(parts[number] for number in sorted(parts))
        body = "<?xml version='1.0'?><CompleteMultipartUploadResult>"
        body += '<ETag>"parts"</ETag></CompleteMultipartUploadResult>'
        return self._put(bucket, name, whole, body.encode())

    def do_DELETE(self) -> None:
        bucket, name, query, _ = self._asked()
        if "uploadId" in query:
            PARTS.pop(query["uploadId"], None)
            return self._answer(204)
        with LOCK:
            there = BUCKETS.get(bucket, {}).pop(name, None)
        return self._answer(204) if there else self._refuse(404, "NoSuchKey")


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that is gone


if __name__ == "__main__":
    Quiet(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
