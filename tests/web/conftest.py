"""The page served for the tests, and a real browser to look at it."""

import shutil

import pytest

from serving import Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    pytest.importorskip("gradio", reason="web.py needs requirements-web.txt")
    served = Server(tmp_path_factory.mktemp("web") / "served", "--max_upload_mb", "2", "--max_seconds", "60")
    yield served
    served.kill()


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs requirements-dev.txt")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, server):
    """Load the page as a new visitor; visit() -> a Playwright page."""
    contexts = []

    def new_visitor():
        context = chromium.new_context(viewport={"width": 1200, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        page.goto(server.address)
        page.locator("#dub").wait_for()
        return page

    yield new_visitor
    for context in contexts:
        context.close()
