"""What axe finds wrong with a page, at the widths and in the colours that people have."""

import pytest

# The last is what 1440 × 900 leaves at a zoom of 200 %. What axe finds depends on the colours and
# on what a width shows or hides: it looks at each colour, and at the widest and the narrowest.
SIZES = ((1440, 900, "light"), (1024, 768, None), (390, 844, "dark"), (720, 450, None))


def check(page):
    """Nothing is wrong by axe, and nothing has to be scrolled sideways."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for width, height, scheme in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
        if scheme is None:
            continue
        page.emulate_media(color_scheme=scheme)
        found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        said = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]
        assert not said, (width, scheme, said)
