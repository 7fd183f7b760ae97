"""python -m search.page as a process, and as much of a browser as its tests need."""

import http.client
import signal
import subprocess
import sys
import urllib.parse

from tests.support.lab import wait_for
from tests.support.repositories import ROOT


class Browser:
    """Asks with the cookie that the address gave."""

    def __init__(self, address):
        parts = urllib.parse.urlsplit(address)
        self.host, self.cookie = parts.netloc, ""
        _, headers, _ = self.ask("/?" + parts.query)
        self.cookie = headers["set-cookie"].partition(";")[0]

    def ask(self, path, method="GET", body=None, **headers):
        """(status, headers, text)"""
        given = {"Cookie": self.cookie} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.host, timeout=60)
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text

    def post(self, path, **fields):
        kind = "application/x-www-form-urlencoded"
        return self.ask(path, "POST", urllib.parse.urlencode(fields), Origin=f"http://{self.host}", Content_Type=kind)


class Served:
    """python -m search.page, as a process."""

    def __init__(self, runs, *arguments, **more):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "search.page", "--runs", str(runs), *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more,
        )  # fmt: skip
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), self.address + self.process.stdout.read()
        self.browser = Browser(self.address)

    def loaded(self):
        wait_for(lambda: "Reading the search" not in self.browser.ask("/")[2])
        return self.browser

    def end(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=20)
