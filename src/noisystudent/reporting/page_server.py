"""Serves the page of a run to browsers of this machine alone, on the loopback address."""

from __future__ import annotations

import sys
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from noisystudent.errors import ArtifactError, SettingsError
from noisystudent.reporting.live import is_finished, is_run, live_page

HOST = "127.0.0.1"
# What the page of a finished run names: by these names alone, directly in the folder, no link to elsewhere.
_FILES = {
    "report.html": "text/html; charset=utf-8",
    "results.png": "image/png",
    "confusion.png": "image/png",
    "noise.png": "image/png",
    "label_issues.csv": "text/csv; charset=utf-8",
    "out_of_class.csv": "text/csv; charset=utf-8",
    "label_next.csv": "text/csv; charset=utf-8",
    "label_for_test.csv": "text/csv; charset=utf-8",
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageServer(ThreadingHTTPServer):
    """A server of one run's page; ``address`` is what a browser opens."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Opens the port.

        Args:
            folder: The folder of the run.
            port: The port; 0: a free one.

        Raises:
            ArtifactError: The folder is not that of a run.
            SettingsError: The port is no port, or is in use.
        """
        if not is_run(folder):
            raise ArtifactError(
                f"{folder} is no folder of a run. Give the folder that run --out names, once the run has begun; "
                "'noisystudent runs' lists those in runs/."
            )
        if not 0 <= port < 2**16:
            raise SettingsError(f"--port is {port}; give a number from 1 to 65535, or leave it out for a free one.")
        self.folder = folder
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SettingsError(
                f"--port {port} cannot be used ({reason}). Give another, or leave it out for a free one."
            ) from None

    def handle_error(self, request: object, client_address: object) -> None:
        """Says what went wrong in an answer, unless the browser has just gone."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def content(self, name: str) -> tuple[str, bytes] | None:
        """The type and the bytes of a file of the page by its name, empty for the page itself; None for all others."""
        if not name:
            if is_finished(self.folder):
                name = "report.html"
            else:
                return _FILES["report.html"], live_page(self.folder, time.time()).encode("utf-8", errors="replace")
        path = self.folder / name
        if name not in _FILES or path.is_symlink() or not path.is_file():
            return None
        return _FILES[name], path.read_bytes()


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the files of the page, and nothing else."""

    server: PageServer
    server_version, sys_version = "noisystudent", ""
    timeout = 30  # seconds; a connection that says nothing is closed

    def do_GET(self) -> None:
        """Answers with a file."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answers with the headers of a file."""
        self._answer(with_body=False)

    def end_headers(self) -> None:
        """Adds the headers that every answer has."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing: the terminal of the user is no log of requests."""

    def _answer(self, *, with_body: bool) -> None:
        # A page elsewhere can make a browser ask this machine under a name of its own (DNS rebinding).
        if self.headers.get("Host") not in {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        found = self.server.content(self.path.partition("?")[0].removeprefix("/"))
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kind, content = found
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)
