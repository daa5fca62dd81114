"""Nothing of the machine's Ray reaches a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

_VARIABLES = (
    "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "MLOPS_RAY_ADDRESS", "MLOPS_RAY_PYTHON",
    "MLOPS_RAY_TOKEN_FILE", "MLOPS_RAY_CPUS", "MLOPS_RAY_GPUS", "MLOPS_RAY_IDLE_MINUTES", "MLOPS_RAY_INPUT_LIMIT",
    "MLOPS_RAY_OUTPUT_LIMIT", "MLOPS_RAY_AUTOSCALES",
)  # fmt: skip


@pytest.fixture(autouse=True)
def clean_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of a cluster."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>not a cluster</html>")

    def do_POST(self) -> None:
        self.send_response(501)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def http_page() -> Iterator[str]:
    """A web server on loopback that is no cluster; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
