"""Published benchmarks of reward models: one module each, found by its name.

A module defines `SUITE`, a `Suite`: the fields it is recognised by, how a row is read, and the
score by the benchmark's own definition. `plaudit.evaluation.suite` says what one is made of, and
`plaudit.evaluation.suite_run` reads a file, scores it with a model and sums up.
"""

from plaudit.evaluation.suite import Suite
from plaudit.plugins import Registry

SUITES = Registry("suite", __name__, "SUITE", Suite)
