"""A page in headless Chromium, driven over its debugging pipe: real keys and clicks, and everything it complains of."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_KEYS = {"ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, "Escape": 27, "Enter": 13}
_COMPLAINTS = {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}


class Page:
    """One page of a running browser. `complaints` are exceptions and lines of its console, `asked` the addresses it
    asked for, but for the page's own."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._kept, self._last = read, write, b"", 0
        self.complaints: list[Any] = []
        self.asked: list[str] = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attach = {"targetId": target, "flatten": True}
        self._session: str | None = None
        self._session = self._call("Target.attachToTarget", attach)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, address: str) -> Self:
        self._call("Page.navigate", {"url": address})
        for _ in range(200):
            if self.run("document.readyState") == "complete":
                return self
            time.sleep(0.02)
        raise AssertionError("the page was not ready")

    def look(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window, and whether its reader likes it dark."""
        self._call("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1,
                                                          "mobile": False})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str) -> Any:
        """The value of an expression, as JSON."""
        found = self._call("Runtime.evaluate", {"expression": script, "returnByValue": True})
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        for key in keys:
            pressed: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": _KEYS.get(key) or ord(key.upper())}
            if key not in _KEYS:
                pressed["text"] = key
            self._call("Input.dispatchKeyEvent", {"type": "keyDown", **pressed})
            self._call("Input.dispatchKeyEvent", {"type": "keyUp", **pressed})

    def picture(self) -> str:
        """A PNG of the window, in base64."""
        data: str = self._call("Page.captureScreenshot")["data"]
        return data

    def _call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        self._last += 1
        asked: dict[str, Any] = {"id": self._last, "method": method, "params": parameters or {}}
        if getattr(self, "_session", None):
            asked["sessionId"] = self._session
        os.write(self._write, json.dumps(asked).encode() + b"\0")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for message in self._messages():
                if message.get("id") == self._last:
                    assert "error" not in message, message
                    return dict(message["result"])
                self._note(message)
        raise AssertionError(f"no answer to {method}")

    def _messages(self) -> Iterator[dict[str, Any]]:
        if b"\0" not in self._kept and select.select([self._read], [], [], 1.0)[0]:
            self._kept += os.read(self._read, 1 << 20)
        while b"\0" in self._kept:
            one, _, self._kept = self._kept.partition(b"\0")
            yield json.loads(one)

    def _note(self, message: dict[str, Any]) -> None:
        if message["method"] in _COMPLAINTS:
            self.complaints.append(message["params"])
        if message["method"] == "Network.requestWillBeSent":
            request = message["params"]
            if request["type"] != "Document":
                self.asked.append(request["request"]["url"])


@contextlib.contextmanager
def open_browser(profile: Path) -> Iterator[Page]:
    """A browser with an empty profile, ended on leaving."""
    assert BROWSER is not None
    (to_read, to), (read, to_write) = os.pipe(), os.pipe()
    line = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={profile}"]
    process = subprocess.Popen(["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *line],
                               pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(to_read)
    os.close(to_write)
    try:
        yield Page(read, to)
    finally:
        process.terminate()
        process.wait(20)
        os.close(read)
        os.close(to)
