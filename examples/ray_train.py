"""Train a reward model on several machines of a Ray cluster, by Ray Train.

    pip install 'plaudit[ray]' 'ray[train]'
    python examples/ray_train.py answers_ranked.csv --config settings.yaml --workers 4 --gpu \
        -o /shared/runs/first

Ray Train (2.60) starts the workers, tells each who the others are, and starts all of them anew when
one dies or its machine is lost, at most `--failures` times. They then go on from the last whole
checkpoint of the run's folder; so does this script when it is started again, also with another
number of workers. Data, base model and the folder must be where every node sees them. Settings
count for each worker, as under any launcher.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from plaudit import train


def work(asked: dict[str, Any]) -> None:
    """What each worker does. What it raises ends all of them, to be started anew."""
    folder = Path(asked["output"])
    if (folder / "config.yaml").is_file():  # nobody writes it before all have looked
        train(output=folder, resume=True)
    else:
        train(asked["data"], output=folder, config=asked["config"])


def main(argv: list[str] | None = None) -> int:
    """Train, on the cluster of RAY_ADDRESS or else a local one."""
    parser = argparse.ArgumentParser(description="Train a reward model by Ray Train.")
    parser.add_argument("data")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--config", help="a YAML file of settings")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="each worker has a GPU, else a core")
    parser.add_argument("--failures", type=int, default=3, help="how often to start anew")
    args = parser.parse_args(argv)
    folder = Path(args.output).absolute()
    if (folder / "metrics.json").is_file():
        print(f"error: {folder}: this run is finished", file=sys.stderr)
        return 1
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    trainer = TorchTrainer(
        work,
        train_loop_config={
            "data": str(Path(args.data).absolute()),
            "config": args.config and str(Path(args.config).absolute()),
            "output": str(folder),
        },
        scaling_config=ScalingConfig(num_workers=args.workers, use_gpu=args.gpu),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder.parent / "ray"),  # Ray Train's own notes
            failure_config=FailureConfig(max_failures=args.failures),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"saved to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
