"""A headless Chromium of our own, asked over its DevTools protocol: one page, its text, its pictures. Nothing is installed for it."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager

from websockets.sync.client import connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MISSING = "no Chromium here: apt-get install chromium"
_START_S = 60
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # as root it starts in no other way; it sees our own pages alone
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)


def find_chromium():
    """Its path, or None."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Tab:
    """One page of the browser."""

    def __init__(self, socket):
        self._socket, self._numbers = socket, itertools.count(1)
        self.events = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        """The answer to one command; what happens meanwhile goes into ``events``."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            said = json.loads(self._socket.recv(timeout=60))
            if said.get("id") != number:
                self.events.append(said)
            elif "error" in said:
                raise RuntimeError(f"{method}: {said['error']}")
            else:
                return said["result"]

    def run(self, script):
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", found["exceptionDetails"]))
        return found["result"].get("value")

    def wait_for(self, script, within_s=30):
        """The value of an expression as soon as it is something."""
        ends_at = time.monotonic() + within_s
        while True:
            try:
                found = self.run(script)
            except RuntimeError:  # the page is on its way
                found = None
            if found:
                return found
            if time.monotonic() > ends_at:
                raise AssertionError(f"it did not come in {within_s} s: {script}\n{self.run('document.body.innerText')[:2000]}")
            time.sleep(0.1)

    def open(self, url):
        """Go to a page, and wait until it stands; what the browser complained of before is forgotten."""
        self.ask("Page.navigate", url="about:blank")
        self.wait_for("location.href === 'about:blank'")
        self.events.clear()
        self.ask("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def look(self, *, width, height=900, dark=False):
        """The size of the window, and what the system prefers."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        preferred = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=preferred)

    def fill(self, selector, text):
        """Type into a field."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.ask("Input.insertText", text=text)

    def press(self, key):
        """One key, down and up."""
        codes = {"Tab": 9, "Enter": 13}
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text)

    def log_in(self, url, user, password):
        """Through Airflow's own form, on the way to a page."""
        self.open(url)
        self.wait_for("!!document.querySelector('input[name=username]')", within_s=60)
        self.fill("input[name=username]", user)
        self.fill("input[name=password]", password)
        self.press("Enter")
        self.wait_for("!document.querySelector('input[name=password]')")

    def rest(self, seconds):
        """Let what moves come to rest."""
        time.sleep(seconds)

    def picture(self):
        """The window, as a PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def complaints(self):
        """What the browser complained of: errors of scripts, what the page's policy forbade, what could not be loaded."""
        self.run("0")
        found = [each["params"] for each in self.events if each["method"] in {"Log.entryAdded", "Runtime.exceptionThrown"}]
        return [each for each in found if each.get("entry", {"level": "error"})["level"] == "error"]


@contextmanager
def browser():
    """A tab of a browser that ends with the block, by its process id."""
    program = find_chromium()
    if program is None:
        raise RuntimeError(MISSING)
    folder = tempfile.mkdtemp(prefix="chromium-")
    command = [program, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        port = _port_of(process)
        with connect(_tab_of(port), max_size=None, proxy=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _port_of(process):
    ends_at = time.monotonic() + _START_S
    for line in process.stderr:
        if found := re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
        if time.monotonic() > ends_at:
            break
    raise RuntimeError("Chromium did not start")


def _tab_of(port):
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    ends_at = time.monotonic() + _START_S
    while time.monotonic() < ends_at:
        with opener.open(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
            for each in json.load(answer):
                if each["type"] == "page":
                    return each["webSocketDebuggerUrl"]
        time.sleep(0.1)
    raise RuntimeError("Chromium has no page")
