"""What axe finds wrong with a page, at the widths and in the colours that people have."""

import pytest

SIZES = ((1440, 900), (1024, 768), (390, 844))
ZOOMED = (720, 450)  # what 1440 × 900 leaves at 200 %
SCHEMES = ("light", "dark")


def check(page, sizes=SIZES, schemes=SCHEMES):
    """Nothing is wrong by axe, and nothing has to be scrolled sideways."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for width, height in (*sizes, ZOOMED):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
        for scheme in schemes if (width, height) != ZOOMED else ():
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
            said = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]
            assert not said, (width, scheme, said)
