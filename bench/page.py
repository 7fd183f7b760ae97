"""What a search's page costs: the time to make it, its size, and the share of a core with browsers that follow it.

Makes up the folder of a search, serves it with `python -m search.page`, and lets some clients follow it as browsers do,
while a trial's log grows line by line, as of a search that runs. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.edge.web import browsers, made_up

ROOT = Path(__file__).resolve().parent.parent
FEWEST_VERSIONS = 2  # that each browser takes: the second shows that it goes on
PATIENCE = 180.0  # seconds more for these, on a machine that is busy with other things
PAGES = ("/", "/experiments", "/lineage", "/proposals", "/cluster")


class Client:
    """A browser's requests."""

    def __init__(self, address: str) -> None:
        base, _, query = address.partition("/?")
        self.host, self.cookie = base.removeprefix("http://"), ""
        self.cookie = self.ask(f"/?{query}")[1].partition(";")[0]
        self.taken = 0

    def ask(self, path: str) -> tuple[float, str, bytes]:
        """(seconds, the cookie that is set, what came)"""
        began = time.monotonic()
        connection = http.client.HTTPConnection(self.host, timeout=120)
        connection.request("GET", path, headers={"Cookie": self.cookie, "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return time.monotonic() - began, answer.getheader("set-cookie") or "", body

    def follow(self, until: float) -> None:
        """Takes the overview again whenever there is something new, FEWEST_VERSIONS times at least."""
        connection = http.client.HTTPConnection(self.host, timeout=60)  # it says something every fifteen seconds
        connection.request("GET", "/events", headers={"Cookie": self.cookie})
        stream = connection.getresponse()
        while time.monotonic() < (until if self.taken >= FEWEST_VERSIONS else until + PATIENCE):
            line = stream.readline()
            if line.startswith(b"event: changed"):
                self.ask("/")
                self.taken += 1
        connection.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def first_paint(address: str) -> float | None:
    """Milliseconds until a browser shows something of the overview, which was not made before; None without Chromium
    (Debian's package chromium) and playwright."""
    if browsers.CHROMIUM is None:
        return None
    try:
        with browsers.chromium() as browser:
            page = browser.new_page()
            base = address.partition("/?")[0]
            page.goto(address)
            page.wait_for_url(f"{base}/")
            page.goto(f"{base}/?anew=1", wait_until="load")
            script = "performance.getEntriesByName('first-contentful-paint').map((one) => one.startTime)"
            page.wait_for_function(f"() => {script}.length > 0")
            return round(page.evaluate(script)[0], 1)
    except ImportError:
        return None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/page.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", type=int, default=1000, help="of the search (default 1000; docs: 10000)")
    parser.add_argument("--browsers", type=int, default=3, help="that follow it (default 3)")
    parser.add_argument("--seconds", type=float, default=20.0, help="that they follow it (default 20; docs: 60)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = made_up.search(Path(work), options.experiments)
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", "search.page", "--runs", str(folder.parent)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as served:
            assert served.stdout is not None
            try:
                address = served.stdout.readline().strip()
                clients = [Client(address) for _ in range(options.browsers)]
                while b"Reading the search" in gzip.decompress(clients[0].ask("/")[2]):
                    time.sleep(0.05)
                start = time.monotonic() - began
                paint = first_paint(address)
                log, times, sizes = made_up.running(folder), [], []
                for path in PAGES:
                    seconds, _, body = clients[0].ask(path)
                    times.append(seconds)
                    sizes.append(len(body))
                until, used = time.monotonic() + options.seconds, cpu_seconds(served.pid)
                threads = [threading.Thread(target=client.follow, args=(until,)) for client in clients]
                for thread in threads:
                    thread.start()
                step, followed = 20, time.monotonic()
                while any(thread.is_alive() for thread in threads):
                    step += 1
                    with log.open("a") as stream:
                        stream.write(f"step {step} | loss {2 / step:.3f}\n")
                    time.sleep(0.5)
                used, followed = cpu_seconds(served.pid) - used, time.monotonic() - followed
            finally:
                served.kill()
    print(
        json.dumps(
            {
                "cpu_share": round(used / followed, 4),
                "versions": max(client.taken for client in clients),
                "start_s": round(start, 2),
                "first_paint_ms": paint,
                "slowest_page_s": round(max(times), 3),
                "median_page_s": round(statistics.median(times), 3),
                "largest_page_kb": round(max(sizes) / 1000, 1),
                "browsers": options.browsers,
                "experiments": options.experiments,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
