"""A reward model behind `plaudit serve` as an environment of NeMo RL.

    plaudit serve runs/first --port 8000

Written for NeMo RL's main of August 2026 (0.7). `register` makes the environment and a processor of
data known by the name `plaudit`; then its own script runs, with both in the configuration:

    export PYTHONPATH=PLAUDIT/examples:NEMO_RL/examples PLAUDIT_URL=http://127.0.0.1:8000
    python -c "import nemo_rl_reward, run_grpo; nemo_rl_reward.register(); run_grpo.main()" \\
        --config examples/configs/grpo_math_1B.yaml ++env.plaudit.refused=-5.0 \\
        data.default.env_name=plaudit data.default.processor=plaudit

NeMo RL lays prompts out for the policy before an environment sees them, so the processor keeps the
messages as they were. A dialogue that the service refuses ends the run with the reason, or has the
reward `refused`. Of plaudit it needs `remote_reward.py`, which lies beside it, and nothing else.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
import remote_reward
import torch
from nemo_rl.environments.interfaces import EnvironmentInterface, EnvironmentReturn

NAME = "plaudit"
AT_ONCE = 64  # requests to the service, which makes its batches of them


class PlauditEnvironment(EnvironmentInterface):
    """The reward of each completion, after which the episode is over."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.url = config.get("url", remote_reward.URL)
        self.refused = config.get("refused", remote_reward.REFUSED)

    def step(
        self, message_log_batch: list[list[dict[str, Any]]], metadata: list[dict[str, Any]]
    ) -> EnvironmentReturn:
        """The rewards of the last message of each dialogue."""

        def reward(log: list[dict[str, Any]], known: dict[str, Any]) -> float:
            prompt, completion = known["prompt"], log[-1]["content"]
            return remote_reward.score(prompt, completion, self.url, self.refused)[0]

        with ThreadPoolExecutor(AT_ONCE) as threads:
            rewards = list(threads.map(reward, message_log_batch, metadata))
        return EnvironmentReturn(
            observations=[{"role": "environment", "content": f"{reward}"} for reward in rewards],
            metadata=metadata,
            next_stop_strings=[None] * len(rewards),
            rewards=torch.tensor(rewards),
            terminateds=torch.ones(len(rewards), dtype=torch.bool),
            answers=[log[-1]["content"] for log in message_log_batch],
        )

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        """The batch as it is, and the mean of its rewards."""
        return batch, {"plaudit/mean_reward": float(batch["rewards"].mean())}


PlauditActor = ray.remote(PlauditEnvironment)


def processor(
    datum_dict: dict[str, Any],
    task_data_spec: Any,
    tokenizer: Any,
    max_seq_length: int,
    idx: int,
) -> dict[str, Any]:
    """NeMo RL's own processor, and the prompt as it was before the policy's template."""
    from nemo_rl.data.processors import math_hf_data_processor

    output = math_hf_data_processor(datum_dict, task_data_spec, tokenizer, max_seq_length, idx)
    question = datum_dict["messages"][0]["content"]
    asked = task_data_spec.prompt.format(question) if task_data_spec.prompt else question
    messages = [{"role": "user", "content": asked}]
    if task_data_spec.system_prompt:
        messages.insert(0, {"role": "system", "content": task_data_spec.system_prompt})
    output["extra_env_info"]["prompt"] = messages
    return output


def register() -> None:
    """Make environment and processor known to NeMo RL."""
    from nemo_rl.data.processors import register_processor
    from nemo_rl.distributed.ray_actor_environment_registry import ACTOR_ENVIRONMENT_REGISTRY
    from nemo_rl.distributed.virtual_cluster import PY_EXECUTABLES
    from nemo_rl.environments.utils import register_env

    actor = f"{__name__}.PlauditActor"
    ACTOR_ENVIRONMENT_REGISTRY[actor] = PY_EXECUTABLES.SYSTEM
    register_env(NAME, actor)
    register_processor(NAME, processor)
