"""An object store that is not there: as much of S3 as a state and a backup need, over HTTP on the loopback, signatures checked.

    s3.py FOLDER [PORT-FILE]      objects are files below FOLDER, which has a folder for each bucket

A request whose signature (AWS4-HMAC-SHA256) was not made with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is refused, as is one
whose body is not what its sum says. Knows put, get, head, delete, list (version 2), and If-None-Match on put.
"""

import hashlib
import hmac
import os
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(sys.argv[1])
KEY, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]


def sign(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, code: int, word: str) -> None:
        print(f"{self.command} {self.path}: {word}", file=sys.stderr, flush=True)
        self.answer(code, f"<Error><Code>{word}</Code><Message>{word}</Message></Error>".encode(), Content_Type="application/xml")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def is_signed(self, body: bytes) -> bool:
        """Whether the request was signed by whoever has the secret, as Amazon's documents say it is done."""
        word, _, rest = self.headers.get("Authorization", "").partition(" ")
        parts = dict(it.strip().split("=", 1) for it in rest.split(",") if "=" in it)
        if word != "AWS4-HMAC-SHA256" or not {"Credential", "SignedHeaders", "Signature"} <= parts.keys():
            return False
        key, day, region, service, end = parts["Credential"].split("/")
        path, _, query = self.path.partition("?")
        pairs = sorted(it.partition("=")[::2] for it in query.split("&") if it)
        names = parts["SignedHeaders"].split(";")
        body_sum = self.headers.get("x-amz-content-sha256", "")
        request = "\n".join([
            self.command,
            path,
            "&".join(f"{k}={v}" for k, v in pairs),
            *(f"{it}:{' '.join((self.headers.get(it) or '').split())}" for it in names),
            "",
            ";".join(names),
            body_sum,
        ])
        text = "\n".join(["AWS4-HMAC-SHA256", self.headers.get("x-amz-date", ""), f"{day}/{region}/{service}/{end}", hashlib.sha256(request.encode()).hexdigest()])
        with_key = f"AWS4{SECRET}".encode()
        for it in (day, region, service, end):
            with_key = sign(with_key, it)
        wanted = sign(with_key, text).hex()
        whole = body_sum in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest())
        return key == KEY and whole and hmac.compare_digest(wanted, parts["Signature"])

    def handle_one(self) -> None:
        body = self.body()
        if not self.is_signed(body):
            return self.refuse(403, "SignatureDoesNotMatch")
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        bucket, _, name = urllib.parse.unquote(path).lstrip("/").partition("/")
        if not (ROOT / bucket).is_dir() or not bucket or ".." in name.split("/"):
            return self.refuse(404, "NoSuchBucket")
        file = ROOT / bucket / name
        if not name:
            prefix = asked.get("prefix", "")
            found = sorted(str(it.relative_to(ROOT / bucket)) for it in (ROOT / bucket).rglob("*") if it.is_file())
            keys = "".join(f"<Contents><Key>{escape(it)}</Key><Size>{(ROOT / bucket / it).stat().st_size}</Size></Contents>" for it in found if it.startswith(prefix))
            text = f'<?xml version="1.0"?><ListBucketResult><Name>{escape(bucket)}</Name><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>'
            return self.answer(200, text.encode(), Content_Type="application/xml")
        if self.command == "PUT":
            if self.headers.get("If-None-Match") == "*" and file.exists():
                return self.refuse(412, "PreconditionFailed")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
            return self.answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')
        if self.command == "DELETE":
            file.unlink(missing_ok=True)
            return self.answer(204)
        if not file.is_file():
            return self.refuse(404, "NoSuchKey")
        held = file.read_bytes()
        return self.answer(200, held, ETag=f'"{hashlib.md5(held).hexdigest()}"')

    do_GET = do_PUT = do_HEAD = do_DELETE = handle_one


server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
print(server.server_address[1], flush=True)
server.serve_forever()
