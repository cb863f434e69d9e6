"""Take the picture of the report that the README shows: ``python docs/picture_report.py`` (needs Chromium).

Two columns of the page for MobileNetV2 on KL720: its top, and from the schedule to the on-chip memory.
"""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import zoo
from ktc.evaluator import EvaluationSettings, evaluate, other_widths
from ktc.frontend import lower
from ktc.hardware import load_platform
from ktc.report import render_html

WIDTH, HEIGHT, COLOURS = 1100, 1450, 256


def page() -> str:
    """The report of MobileNetV2."""
    platform, settings = load_platform("720"), EvaluationSettings()
    program = lower(zoo.skeleton("mobilenet_v2_224"), platform)
    evaluation = dataclasses.replace(evaluate(program, platform, settings), model_name="mobilenetv2")
    return render_html(evaluation, alternatives=other_widths(program, platform, settings))


def main() -> None:
    """Write docs/report.png."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium on this machine")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as engine:
        path = Path(folder) / "report.html"
        path.write_text(page(), encoding="utf-8")
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(path.as_uri())
        below = tab.locator("[aria-labelledby=schedule]").bounding_box()
        assert below is not None
        whole = Image.open(io.BytesIO(tab.screenshot(full_page=True)))
        browser.close()
    picture = Image.new("RGB", (2 * WIDTH, HEIGHT))
    for column, top in enumerate((0, int(below["y"]) - 40)):
        picture.paste(whole.crop((0, top, WIDTH, top + HEIGHT)), (column * WIDTH, 0))
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(Path(__file__).parent / "report.png", optimize=True)


if __name__ == "__main__":
    main()
