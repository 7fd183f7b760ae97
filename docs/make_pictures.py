"""Takes the pictures of docs/page.md anew, from a search: python docs/make_pictures.py RUNS TAG.

Needs Chromium (Debian's package chromium) and playwright (requirements-dev.txt).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.edge.web import browsers

HERE = Path(__file__).resolve().parent
PICTURES = (  # name, address, width, height, scheme
    ("page-overview.png", "/", 1280, 1150, "light"),
    ("page-experiments.png", "/experiments?order=-score", 1280, 700, "light"),
    ("page-phone.png", "/", 390, 844, "dark"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("tag", help="the search in it")
    options = parser.parse_args()
    command = [sys.executable, "-m", "search.page", options.tag, "--runs", str(options.runs.absolute())]
    with subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        try:
            address = served.stdout.readline().strip()
            with browsers.chromium() as browser:
                for name, path, width, height, scheme in PICTURES:
                    window = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                    page = window.new_page()
                    page.goto(address)
                    page.wait_for_selector("#progress svg", state="attached")
                    page.goto(address.partition("/?")[0] + path)
                    page.wait_for_selector("main h1", state="attached")
                    page.screenshot(path=HERE / name)
        finally:
            served.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
