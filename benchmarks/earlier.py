"""plaudit as it was at an earlier revision, in a process of its own that does as it is told.

`limits.py` starts it as `python earlier.py FILES DESCRIPTOR THREADS WORK START DTYPE`. FILES holds
`src` and `benchmarks` of that revision, and all that runs is from there: training is its
`contenders.Plaudit`, scoring its `score_speed.Plaudit`. Rankings come as tuples, since their class
may have been another.
"""

import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace


class Earlier:
    """Trains or scores from the case's start, by the default settings of the revision."""

    def __init__(self, files: Path, work: str, start: str, dtype: str) -> None:
        import plaudit
        from plaudit import RewardModel

        if not Path(plaudit.__file__).is_relative_to(files):
            raise ImportError(f"plaudit is that of {plaudit.__file__}, not of {files}")
        encoding = RewardModel.load(start, device="cpu").encoding
        case = SimpleNamespace(start=start, encoding=encoding)
        if work == "train":
            from contenders import Plaudit
        else:
            from score_speed import Plaudit
        self.plaudit = Plaudit(case, dtype)

    def run(self, rankings: Sequence[tuple], folder: Path) -> float:
        """Seconds of one step of training, or of scoring."""
        from plaudit import Ranking

        own = [Ranking(*ranking) for ranking in rankings]
        if hasattr(self.plaudit, "score"):
            return self.plaudit.score(own)[0]
        self.plaudit.prepare(own, folder)
        return self.plaudit.train()

    def chosen_dtype(self) -> str:
        """The type that it computes in by default."""
        return str(self.plaudit.model.dtype).removeprefix("torch.")


if __name__ == "__main__":
    files, descriptor, threads, *given = sys.argv[1:]
    sys.path[:1] = [f"{files}/src", f"{files}/benchmarks"]
    from contenders import _serve

    _serve(Connection(int(descriptor)), int(threads) or None, Earlier, (Path(files), *given), {})
