"""A plot as a PNG and as an SVG: whole, in its theme's colours, with nothing global changed."""

import logging
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from plaudit.errors import PlauditError
from plaudit.reporting import drawing
from plaudit.reporting.drawing import DARK, LIGHT, Drawing
from plaudit.reporting.plots.comparison import comparison
from plaudit.reporting.plots.reward_against_length import reward_against_length
from plaudit.reporting.plots.reward_distributions import reward_distributions

pytestmark = pytest.mark.filterwarnings("error")

LINE = Drawing("A line", "2 points", lambda axes, theme: axes[0].plot([0, 1], color=theme.blue), 3)


def test_png(tmp_path):
    path = LINE.write(tmp_path / "new" / "line.png")
    assert path == tmp_path / "new" / "line.png"
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width == 1200
        # Something is drawn below the heading, which is there for those who cannot see it, too.
        assert len(np.unique(np.asarray(picture.convert("L"))[150:])) > 5
        assert picture.info["Title"] == "A line"
        assert picture.info["Description"] == "2 points"


def test_svg_is_drawn_in_its_theme_and_keeps_its_words():
    light, dark = LINE.svg(), LINE.svg(DARK)
    assert LIGHT.blue.lower() in light
    assert DARK.blue.lower() in dark
    assert DARK.blue.lower() not in light
    assert LIGHT.blue.lower() not in dark
    words = [
        each.text for each in ElementTree.fromstring(light).iter() if each.tag.endswith("text")
    ]
    assert "1.0" in words
    assert LINE.svg() == light  # no date, no random names: the same report is the same file


@pytest.mark.parametrize("n", [40, 800, 6000])  # points, points as pixels, hexagons as pixels
def test_the_twin_in_dark_is_what_would_be_drawn_in_dark(n):
    def plain(svg):  # names are hashes of what they name, colours among it
        return re.sub(r'(?<=[#"])[mp]?[0-9a-f]{10,}(?=[")])', "", svg)

    rng = np.random.default_rng(0)
    plots = [
        reward_against_length(rng.normal(size=n), rng.integers(1, 900, size=n)),
        reward_distributions(*rng.normal(size=(2, n))),
        comparison(["#0072b2; #e8eaed"], [["#0072B2", "b"]], [[1.0, 2.0]]),
    ]
    for plot in plots:
        light, dark = plot.svgs()
        assert light == plot.svg(LIGHT)
        assert plain(dark) == plain(plot.svg(DARK))
        assert plain(dark) != plain(light)


def test_words_in_an_svg_are_escaped():
    plot = Drawing(
        "x", "y", lambda axes, theme: axes[0].set_xlabel("</svg><script>& 你好 مرحبا"), 3
    )
    root = ElementTree.fromstring(plot.svg())
    assert any(each.text == "</svg><script>& 你好 مرحبا" for each in root.iter())
    assert not any(each.tag.endswith("script") for each in root.iter())


def test_characters_that_the_font_lacks_are_no_error(tmp_path, caplog):
    plot = comparison(["你好 🙂"], [["ᚠᛇᚻ", "b"]], [[1.0, 2.0]])
    with caplog.at_level(logging.WARNING):
        plot.write(tmp_path / "a.png")
        plot.svg()
    assert not caplog.records


def test_nothing_global_changes(tmp_path):
    with mpl.rc_context({"axes.facecolor": "black", "text.parse_math": True}):
        before = dict(mpl.rcParams), mpl.get_backend()
        LINE.write(tmp_path / "dark.png")
        svg = LINE.svg()
        assert (dict(mpl.rcParams), mpl.get_backend()) == before
    LINE.write(tmp_path / "plain.png")
    # The caller's style does not leak in either.
    assert (tmp_path / "dark.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    assert svg == LINE.svg()


def test_a_failure_leaves_no_file_and_no_settings_behind(tmp_path):
    def fail(axes, theme):
        raise ZeroDivisionError

    before = dict(mpl.rcParams)
    with pytest.raises(ZeroDivisionError):
        Drawing("x", "y", fail, 3).write(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(PlauditError, match="cannot be written"):
        LINE.write(tmp_path / "file" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert dict(mpl.rcParams) == before


def test_how_far_an_interval_reaches():
    assert drawing.errors(0.5, 0.25, 0.625) == [[0.25], [0.125]]
    assert drawing.errors(0.5, None, None) == [[0.0], [0.0]]
    assert drawing.errors(1.0, 0.5, 0.75) == [[0.5], [0.0]]  # never below zero
