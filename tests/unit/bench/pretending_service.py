"""A program that is called as `specroute serve --config FILE` is, and answers what benches ask, at once."""

from __future__ import annotations

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANSWERS = {
    "/readyz": {"status": "ready"},
    "/admin/v1/replicas": {"pools": [{"available": True}]},
    "/v1/completions": {"choices": []},
}


class Handler(BaseHTTPRequestHandler):
    """Answers from the table."""

    def do_GET(self) -> None:
        data = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def main() -> int:
    """Serve until SIGTERM; or end at once, as `--help` does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "--help" in sys.argv:
        return 0
    config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    if config["applications"][0]["args"].get("broken"):
        print("there is no such thing as broken")
        return 2
    ThreadingHTTPServer(("127.0.0.1", config["http_options"]["port"]), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
