"""Looking at a page as it stands, in every width and both colours; the screenshots are kept."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from playwright.sync_api import Page

ARTIFACTS = Path(settings.BASE_DIR) / "tests" / "artifacts"
LOOKS = {(390, 844): "dark", (360, 740): "light", (1440, 900): "light"}
"""A colour moves nothing, so not every width is seen in each. The usual size comes last and stays."""

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
UNLABELLED = """
[...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
  .filter((field) => !field.labels.length && !field.getAttribute("aria-label")).map((field) => field.name)
"""
SMALL = """
[...document.querySelectorAll("button, select, textarea, .button")]
  .filter((one) => one.offsetParent && (one.offsetWidth < 24 || one.offsetHeight < 24))
  .map((one) => one.outerHTML)
"""


def look_at(page: Page, name: str) -> None:
    """Take the open page through every look: it fits, has one heading, and no field is bare or small."""
    ARTIFACTS.mkdir(exist_ok=True)
    assert page.locator("h1").count() == 1, name
    assert page.evaluate(UNLABELLED) == [], name
    for (width, height), scheme in LOOKS.items():
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]  # a literal
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=ARTIFACTS / f"{name}-{width}-{scheme}.png", full_page=True)
        assert page.evaluate(OVERFLOW) <= 0, f"{name} at {width}"
        assert page.evaluate(SMALL) == [], name
