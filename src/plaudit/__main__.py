"""`python -m plaudit`, which `accelerate launch -m plaudit train …` uses."""

import sys

from plaudit.cli import main

sys.exit(main())
