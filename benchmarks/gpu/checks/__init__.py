"""What is checked on a GPU. Each check is one file of this package that has

- a docstring whose first line is the question it answers,
- `ORDER`, its place in the order of worth, and `LIMIT`, its seconds on a GPU with all imports,
- `ALONE`, whether nothing else may use the machine meanwhile, as where time is measured,
- `check(setting, report)`.

`python -m checks list` finds them; nothing else names them. What they share is in `setting` (where
a check runs and what it reports), `shapes` (models and data), `timing` and `contest` (contenders
and how their speed is measured).
"""
