"""A headless Chromium and a real server to point it at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Server:
    """``medseg review`` as a process of its own."""

    def __init__(self, masks: Path, *options: str) -> None:
        command = [sys.executable, "-m", "medseg", "review", str(masks), "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout or ():
            facts = json.loads(line)
            if "address" in facts:
                self.address, self.port = facts["address"], facts["port"]
                return
        pytest.fail("medseg review did not start")

    def kill(self) -> None:
        """As the power going out."""
        self.process.kill()
        self.process.wait()


def open_browser(width: int, height: int) -> Any:
    """Chromium, or a skipped test where there is none."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its driver here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    service = webdriver.ChromeService(executable_path=driver)
    return webdriver.Chrome(options=options, service=service)


def wait(true: Callable[[], Any], what: str, *, seconds: float = 60) -> Any:
    """The first true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := true():
            return value
        time.sleep(0.1)
    pytest.fail(f"waited in vain for: {what}")


def shown(browser: Any, case: str = "") -> str:
    """Wait until a case, or that case, is on the screen."""

    def ready() -> str:
        name = browser.execute_script("return document.body.dataset.shown || ''")
        quiet = browser.execute_script(
            "return Boolean(globalThis.review?.loaded) && !review.loaded.waiting.size"
        )
        return name if quiet and (not case or name == case) else ""

    return str(wait(ready, f"case {case or 'any'} on the screen"))
