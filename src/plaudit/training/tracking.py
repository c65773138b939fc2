"""The figures of a run's test prompts, in the trackers that its steps went to (`report_to`).

transformers' callbacks write to trackers while the trainer runs; what is measured afterwards would
be in `metrics.json` alone. They are given it by the same names with `test_` before them, as the
trainer writes `eval_` before those of validation. W&B and TensorBoard show both with a slash, as
`test/pairwise_accuracy`. A callback has ended its run by then, which it is helped to reopen.
"""

from typing import Any

from transformers import Trainer
from transformers.integrations import MLflowCallback, TensorBoardCallback
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from plaudit.evaluation.measures import measures
from plaudit.evaluation.summary import Summary, figures


def track(trainer: Trainer, summary: Summary) -> None:
    """Log every measure of the summary, and the ends of its interval, as of the last step.

    >>> track(trainer, run.metrics["test"])  # doctest: +SKIP
    """
    logs: dict[str, float] = {}
    for name in measures():
        if record := figures(summary).get(name):
            logs[f"test_{name}"] = record["value"]
            if record["low"] is not None and record["high"] is not None:
                logs |= {f"test_{name}_low": record["low"], f"test_{name}_high": record["high"]}
    trackers = tuple(get_reporting_integration_callbacks(trainer.args.report_to))
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, trackers):
            _log(trainer, callback, logs)


def _log(trainer: Trainer, callback: Any, logs: dict[str, float]) -> None:
    given = (trainer.args, trainer.state, trainer.control)
    if isinstance(callback, MLflowCallback):
        import mlflow

        if mlflow.active_run() is None and (ended := mlflow.last_active_run()) is not None:
            with mlflow.start_run(run_id=ended.info.run_id):
                callback.on_log(*given, logs=logs)
            return
    callback.on_log(*given, logs=logs)
    if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
        callback.tb_writer.close()  # opened anew for this
        callback.tb_writer = None
