"""Notices of a node that will go."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from search.cluster.preemption import NOTICE_FILE, notice


class Metadata(BaseHTTPRequestHandler):
    """A cloud's metadata service, as AWS and GCP have one."""

    action = ""

    def do_PUT(self):
        self._say("token" if "ttl" in str(self.headers).lower() else "")

    def do_GET(self):
        path = self.path
        if path.endswith("spot/instance-action"):
            known = self.headers["X-aws-ec2-metadata-token"] == "token"
            self._say(Metadata.action if known else "", 200 if known and Metadata.action else 404)
        else:
            known = self.headers["Metadata-Flavor"] == "Google"
            self._say("TRUE" if Metadata.action and known else "FALSE")

    def _say(self, text, code=200):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


def test_notices_of_a_node_that_will_go(tmp_path):
    assert notice(tmp_path, {"AUTORESEARCH_CLOUD": ""}) == ""
    server = HTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for cloud in ("aws", "gcp"):
            about = {"AUTORESEARCH_CLOUD": cloud, "AUTORESEARCH_METADATA": f"http://127.0.0.1:{server.server_port}"}
            Metadata.action = ""
            assert notice(tmp_path, about) == ""
            Metadata.action = '{"action": "terminate"}'
            assert notice(tmp_path, about).startswith("spot reclaim: ")
    finally:
        server.shutdown()
        server.server_close()
    gone = {"AUTORESEARCH_CLOUD": "aws", "AUTORESEARCH_METADATA": f"http://127.0.0.1:{server.server_port}"}
    assert notice(tmp_path, gone) == ""  # no answer is no notice
    (tmp_path / NOTICE_FILE).write_text("maintenance\n")
    assert notice(tmp_path, gone) == "told to leave: maintenance"
