"""Receives webhooks on a local port, verifies each, prints it. Nothing but the standard library.

python examples/receiver.py 9000 whsec_…
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


def is_genuine(body: bytes, signature: str, secret: str) -> bool:
    """`X-Webhook-Signature` is `sha256=` and the hex of HMAC-SHA256 over the body, keyed with the secret's text."""
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)


class Receiver(BaseHTTPRequestHandler):
    secret = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not is_genuine(body, self.headers.get("X-Webhook-Signature", ""), self.secret):
            self.send_error(400, "the signature is wrong")
            return
        delivery = json.loads(body)
        print(f"verified: {delivery['event']} at position {delivery['position']}", flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """The line above is enough."""


if __name__ == "__main__":
    port, Receiver.secret = int(sys.argv[1]), sys.argv[2]
    server = HTTPServer(("127.0.0.1", port), Receiver)
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    server.serve_forever()
