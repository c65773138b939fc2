"""Pictures of training, rewards and comparisons, each one function from plain numbers to a PNG.

Every title says what the picture shows of the data at hand. The style is set for the one figure
that is drawn and nothing global is touched: no pyplot, no change of matplotlib's settings, so that
a notebook's own plots stay as they were. Rewards are finite; there may be none, one, or all equal.
Importing this module imports matplotlib, so callers import it when they draw.
"""

import io
import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from plaudit.files import writing_bytes
