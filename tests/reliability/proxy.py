"""An HTTP proxy in front of the project that can lose requests and answers, cut answers, and go down."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self
from urllib.parse import urlsplit

Fault = Literal["answer", "request"] | None
"""What the proxy loses: the answer (the server has acted), the request (it has not), or nothing."""


class Proxy:
    """Forwards calls of database functions to a project.

    Attributes:
        fault: called with the name of the function for each request; returns what to lose.
        answered: called with that name when the server has answered, before the answer is forwarded.
        calls: the names of the functions called so far.
        max_rows: how many rows of an answer are forwarded, as `db-max-rows` of PostgREST does.
    """

    def __init__(self, target: str) -> None:
        self.fault: Callable[[str], Fault] = lambda _: None
        self.answered: Callable[[str], None] = lambda _: None
        self.calls: list[str] = []
        self.max_rows = 1000
        self._target = urlsplit(target)
        self._server = _server(self, 0)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_down()

    def go_down(self) -> None:
        """Stop listening, so that connections are refused."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def come_up(self) -> None:
        """Listen again at the same address."""
        self._server = _server(self, self.port)
        self.__enter__()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        """Return the project's answer: status, content type, body."""
        assert self._target.hostname is not None
        upstream = HTTPConnection(self._target.hostname, self._target.port, timeout=60)
        try:
            upstream.request(method, path, body, headers)
            answer = upstream.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        finally:
            upstream.close()


def _server(proxy: Proxy, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            function = self.path.rpartition("/")[2].partition("?")[0]
            proxy.calls.append(function)
            fault = proxy.fault(function)
            if fault != "request":
                headers = {
                    name: value for name, value in self.headers.items() if name.lower() != "connection"
                }
                status, kind, answer = proxy.forward("POST", self.path, headers, body)
                proxy.answered(function)
                if status == 200:
                    answer = json.dumps(json.loads(answer)[: proxy.max_rows]).encode()
            self.close_connection = True
            if fault is not None:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(answer)

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                return  # the proxy or the client closed the connection

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            return  # the client closed the connection

    return Server(("127.0.0.1", port), Handler)
