"""The page in a real browser, headless: every part of a running search, on a desk and on a phone."""

import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from tests.edge.web import browsers, made_up
from tests.support.launching import SLOW_TRAIN, settled, wait_until_dead
from tests.support.repositories import ROOT, make_repository

SIZES = {"desk": (1440, 900, "light"), "phone": (390, 844, "dark")}
PAGES = ("/", "/experiments", "/experiments/0", "/lineage", "/axes", "/proposals", "/cluster", "/notes")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(browsers.CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)"),
]


@pytest.fixture(scope="module")
def chromium():
    with browsers.chromium() as browser:
        yield browser


class Visit:
    """A window of a browser on a page, and everything that it complained of."""

    def __init__(self, chromium, size, address):
        width, height, scheme = SIZES[size]
        self.base, self.width, self.complaints = address.partition("/?")[0], width, []
        self.context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self.base in asked.url or self.complaints.append(f"asked {asked.url}"))
        self.page.goto(address)
        self.page.wait_for_url(f"{self.base}/")

    def to(self, path):
        self.page.goto(self.base + path)
        self.page.wait_for_selector("main h1")

    def check(self, path):
        """Nothing is wider than the window, and nothing keeps anybody from using it."""
        from axe_playwright_python.sync_playwright import Axe

        self.to(path)
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.width, path
        found = Axe().run(self.page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == [], path


@pytest.fixture(scope="module")
def running(tmp_path_factory, demo):
    """(repository, the address of its page, its driver) of a search that goes on and on."""
    repository = make_repository(tmp_path_factory.mktemp("page") / "project", SLOW_TRAIN)
    flags = ("--gpus", "2", "--dataset", demo, "--space", "spaces/fast.toml", "--max-train-seconds", "5", "--tag", "t")
    told = repository.parent / "told"
    command = f"{sys.executable} -c \"import sys; open('{told}', 'a').write(sys.stdin.read() + chr(10))\""
    driver = subprocess.Popen(
        [sys.executable, "-m", "search.launch", *map(str, flags), "--no-dashboard", "--disk-reserve", "0",
         "--notify", command],
        cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        lines = iter(driver.stdout.readline, "")
        address = next(line.split()[1] for line in lines if line.startswith("page "))
        threading.Thread(target=lambda: list(lines), daemon=True).start()  # a pipe that is full would stop it
        settled(lambda: "keep" in (repository / "runs/t/results.tsv").read_text())
        yield repository, address, driver
    finally:
        driver.kill()
        driver.wait()


@pytest.mark.parametrize("size", SIZES)
def test_every_page_of_a_running_search_fits_can_be_used_and_asks_nothing_of_anybody_else(chromium, running, size):
    visit = Visit(chromium, size, running[1])
    for path in PAGES:
        visit.check(path)
    assert visit.complaints == []


def test_it_goes_on_by_itself_and_keeps_what_was_opened(chromium, running):
    visit = Visit(chromium, "desk", running[1])
    visit.to("/experiments")
    before = visit.page.locator("#table tbody tr").count()
    visit.page.evaluate("window.mine = 1")
    visit.page.wait_for_function(
        "n => document.querySelectorAll('#table tbody tr').length > n", arg=before, timeout=90_000
    )
    assert visit.page.evaluate("window.mine") == 1 and visit.complaints == []


def test_it_is_paused_and_resumed_by_its_buttons(chromium, running):
    visit = Visit(chromium, "phone", running[1])
    visit.page.get_by_role("button", name="Pause").click()
    visit.page.wait_for_selector(".chip.paused", timeout=60_000)
    visit.page.get_by_role("button", name="Resume").click()
    visit.page.wait_for_selector(".chip.running", timeout=60_000)


def test_an_edit_is_handed_in_with_a_keyboard_alone(chromium, running, tmp_path):
    repository, address, _ = running
    edit = tmp_path / "train.py"
    edit.write_text((repository / "train.py").read_text().replace("lr: float = 0.01", "lr: float = 0.02"))
    visit = Visit(chromium, "desk", address)
    visit.page.get_by_text("Hand in an edit").focus()
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.type("a larger rate <b>")
    visit.page.locator("#file").set_input_files(edit)
    visit.page.get_by_role("button", name="Hand in").focus()
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("text=Handed in")
    visit.to("/proposals")
    visit.page.wait_for_selector("text=a larger rate <b>", timeout=90_000)


@contextmanager
def served(folder):
    """The address of the page of a search that does not run."""
    command = [sys.executable, "-m", "search.page", "--runs", str(folder.parent)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as serving:
        try:
            yield serving.stdout.readline().strip()
        finally:
            serving.kill()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The address of the page of a search of 10,000 experiments."""
    with served(made_up.search(tmp_path_factory.mktemp("large"), 10_000)) as address:
        yield address


@pytest.mark.parametrize("size", SIZES)
def test_ten_thousand_experiments_fit_too(chromium, large, size):
    visit = Visit(chromium, size, large)
    visit.page.wait_for_selector("#progress svg", state="attached", timeout=60_000)  # once it is read
    for path in (*PAGES, "/experiments/5000", "/experiments?order=score&page=100"):
        visit.check(path)
    assert visit.complaints == []


def test_what_is_under_the_pointer_is_told_and_opened(chromium, tmp_path):
    with served(made_up.search(tmp_path, 30)) as address:
        visit = Visit(chromium, "desk", address)
        visit.page.wait_for_selector("svg.for-desks circle.keep")
        dot = visit.page.locator("svg.for-desks circle.keep").last.bounding_box()
        middle = dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2
        visit.page.mouse.move(*middle)
        visit.page.mouse.move(middle[0] + 1, middle[1])
        for _ in range(40):
            visit.page.mouse.move(middle[0] + 1, middle[1])
            visit.page.mouse.move(*middle)
            if not visit.page.locator(".tip").is_hidden():
                break
            time.sleep(0.1)
        said = visit.page.locator(".tip").inner_text()
        number = re.fullmatch(r"experiment (\d+): keep 0\.\d+", said)[1]
        visit.page.mouse.click(*middle)
        visit.page.wait_for_url(f"{visit.base}/experiments/{number}")
        assert visit.complaints == []


def test_the_page_ends_with_its_search_which_leaves_a_report_and_is_told_of(chromium, running):
    repository, address, driver = running
    visit = Visit(chromium, "desk", address)
    visit.page.get_by_text("Stop …").click()
    visit.page.get_by_role("button", name="Stop the search").click()
    assert driver.wait(timeout=120) == 0
    wait_until_dead([driver.pid])
    assert not (repository / "runs/t/page.json").exists()
    report = repository / "runs/t/report.html"
    told = [line for line in (repository.parent / "told").read_text().splitlines() if '"kind": "end"' in line]
    assert len(told) == 1 and "has ended after" in told[0]
    context = chromium.new_context(viewport={"width": 390, "height": 844}, java_script_enabled=True)
    page = context.new_page()
    complaints = []
    page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
    page.on("request", lambda asked: asked.url.startswith("file:") or complaints.append(asked.url))
    page.goto(report.as_uri())
    assert page.locator("h2", has_text="Recommendation").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and complaints == []
