"""A git server with TLS for faults on the way: real git, behind a proxy that delays, cuts and corrupts."""

from __future__ import annotations

import http.server
import os
import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ADDRESS = "127.0.0.1"
COMMAND_SECONDS = 60
CHUNK = 16_384


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={ADDRESS}", "-addext", f"subjectAltName=IP:{ADDRESS}", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_SECONDS)
    return certificate, key


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers with git's own program for that, or as ``server.answers`` says."""

    protocol_version = "HTTP/1.1"
    server: GitServer

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            self._answer(b"".join(self._chunks()))
        else:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()

    def _answer(self, body: bytes) -> None:
        with self.server.counting:
            self.server.requests += 1
        self.close_connection = True
        with suppress(OSError):
            match self.server.answers:
                case "html":
                    self._send(200, b"<html><body>Please sign in</body></html>" * 20, {"Content-Type": "text/html"})
                case "error":
                    self._send(500, b"it broke")
                case "redirect":
                    self._send(302, b"", {"Location": self.path})
                case "plain":
                    self._send(302, b"", {"Location": f"http://{ADDRESS}:9{self.path}"})
                case "endless":
                    self._endless()
                case wanted:
                    self._git(body, wanted)

    def _git(self, body: bytes, wanted: str) -> None:
        path, _, query = self.path.partition("?")
        environment = os.environ | {
            "GIT_PROJECT_ROOT": str(self.server.folder), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "ann",
            "CONTENT_TYPE": self.headers.get("Content-Type") or "", "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
        }  # fmt: skip
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False,
            timeout=COMMAND_SECONDS,
        )  # fmt: skip
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        # of a conversation with git, only what carries the pack is broken
        if self.command == "POST" and b"packfile" in content and wanted in ("cut", "corrupt"):
            if wanted == "cut":
                self._send(status, content[: len(content) // 2], headers, length=len(content))
                return
            middle = len(content) * 2 // 3
            spoilt = bytes(byte ^ 0x5A for byte in content[middle : middle + 64])
            content = content[:middle] + spoilt + content[middle + len(spoilt) :]
        self._send(status, content, headers)

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        self.send_header("Connection", "close")
        self.end_headers()
        while self.server.answers == "endless":
            self.wfile.write(b"003f" + b"0" * 40 + b" refs/heads/a-branch\n" * 400)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


class GitServer(http.server.ThreadingHTTPServer):
    """Serves the bare repositories of a folder; ``answers`` is ``as git does`` or a fault of the server itself."""

    daemon_threads = True

    def __init__(self, folder: Path, certificate: Path, key: Path) -> None:
        super().__init__((ADDRESS, 0), _Handler)
        self.folder = folder
        self.answers = "as git does"
        self.requests = 0
        self.counting = threading.Lock()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        with suppress(OSError), self._context.wrap_socket(request, server_side=True) as wrapped:
            self.RequestHandlerClass(wrapped, client_address, self)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@dataclass
class Proxy:
    """Between git and its server: ``does`` is ``pass``, or how it fails; what is under way fails with it."""

    target: int
    does: str = "pass"
    connections: int = 0
    _listener: socket.socket = field(default_factory=lambda: socket.create_server((ADDRESS, 0)))

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.does = "refuse"
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.does == "refuse":
                return
            if self.does == "rubbish":
                client.sendall(random.Random(1).randbytes(4096))
                return
            while self.does == "hang":
                time.sleep(0.02)
            with socket.create_connection((ADDRESS, self.target)) as server:
                up = threading.Thread(target=self._pump, args=[client, server, "up"], daemon=True)
                up.start()
                self._pump(server, client, "down")

    def _pump(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        passed = 0
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                passed += len(chunk)
                while way == "down" and self.does == "hang":
                    time.sleep(0.02)
                does = self.does if way == "down" else "pass"
                if does == "slow":
                    time.sleep(0.25)
                if does == "drip":
                    for byte in chunk:
                        sink.sendall(bytes([byte]))
                        time.sleep(0.05)
                        if self.does != "drip":
                            break
                    continue
                if does == "cut" and passed > 1_500:
                    break
                if does == "corrupt" and passed > 1_500:
                    chunk = bytes(byte ^ 0xFF for byte in chunk)
                sink.sendall(chunk)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Remote:
    """One git server behind its proxy."""

    server: GitServer
    proxy: Proxy

    def address(self, name: str) -> str:
        return f"https://{ADDRESS}:{self.proxy.port}/{name}"

    def fails(self, how: str) -> None:
        """Let it fail: ``server ...`` by itself, ``way ...`` on the way; ``no`` ends that."""
        where, _, what = how.partition(" ")
        self.server.answers = what if where == "server" else "as git does"
        self.proxy.does = what if where == "way" else "pass"


@contextmanager
def remote(folder: Path, certificate: Path, key: Path) -> Iterator[Remote]:
    """A git server for the repositories below a folder."""
    server = GitServer(folder, certificate, key)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    proxy = Proxy(int(server.server_address[1]))
    proxy.start()
    try:
        yield Remote(server, proxy)
    finally:
        proxy.close()
        server.answers = "as git does"
        server.shutdown()
        server.server_close()
