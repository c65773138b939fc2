"""The installed command, and `python -m plaudit`, which `accelerate launch -m plaudit …` uses.

The command line is imported here, not above, so that Ctrl-C in the second that this takes is told
as it is later.
"""

import gc
import sys


def run() -> int:
    """Run the command line and return its exit code."""
    try:
        from plaudit.cli import main

        return main()
    except KeyboardInterrupt:  # a command that has begun tells itself what is kept
        print("plaudit: interrupted before anything was begun", file=sys.stderr)
        return 130
    finally:
        gc.freeze()  # or Python looks for garbage among all that torch is, for seconds, as it ends


if __name__ == "__main__":
    sys.exit(run())
