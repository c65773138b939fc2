"""The processes of a run: a launcher may have started several that walk the same road.

They talk over NCCL on GPUs and over gloo on CPUs, and none can go on without the others.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from accelerate import PartialState
from accelerate.utils import DistributedType, broadcast_object_list
from torch.distributed import DistError

from plaudit import console
from plaudit.errors import PlauditError
from plaudit.model.devices import best_device

T = TypeVar("T")
# How gloo, whose errors have no type of their own, says that another process does not answer.
_NO_ANSWER = re.compile("gloo.*(connection|socket|timed out)", re.IGNORECASE | re.DOTALL)


def processes() -> PartialState:
    """The processes of this run, one or many; without an accelerator they talk over the CPU."""
    return PartialState(cpu=best_device() == "cpu")


def say_once(message: str) -> None:
    """Talk of the first process, which speaks for all."""
    if processes().is_main_process:
        console.say(message)


def of_first(make: Callable[[], T]) -> T:
    """What the first process makes, given to all."""
    made = [make() if processes().is_main_process else None]
    if processes().num_processes > 1:
        broadcast_object_list(made)
    return cast(T, made[0])


def one_process(command: str) -> None:
    """Raise where a launcher has started several processes of a command that is for one."""
    if processes().num_processes > 1:
        raise PlauditError(f"plaudit {command} runs in one process; start it without a launcher")


def no_answer(error: BaseException) -> bool:
    """Whether an error is gloo's or NCCL's, of another process that does not answer."""
    return isinstance(error, DistError) or _NO_ANSWER.search(str(error)) is not None


@contextmanager
def together() -> Iterator[None]:
    """Within the block it is said in a line when another process of the run does not answer.

    Raises:
        PlauditError: in place of what gloo or NCCL raise then, which names neither cause nor cure.
    """
    try:
        yield
    except RuntimeError as error:
        if not no_answer(error):
            raise
        here = processes()
        raise PlauditError(
            f"process {here.process_index} of {here.num_processes}: another process of this run "
            "does not answer. It was killed, its machine is gone, or it ended with an error: see "
            "what it said last. --resume continues from the last whole checkpoint, also in "
            f"another number of processes ({' '.join(str(error).split())[:150]})"
        ) from error


def sharded() -> bool:
    """Whether FSDP divides the model among processes."""
    asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    return asked and processes().distributed_type != DistributedType.NO


def refuse_deepspeed() -> None:
    """Raise where accelerate is asked for DeepSpeed, which it would ignore on a CPU.

    With DeepSpeed accelerate takes an optimiser's step after each backward pass, of which a step
    of ours has several; and processes that have unequal numbers of them wait for each other.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise PlauditError(
            "DeepSpeed: accelerate updates the weights after each backward pass with it, and a "
            "step takes as many passes as its tokens need. FSDP divides weights, gradients and the "
            "optimiser's state as ZeRO-3 does: accelerate launch --use_fsdp --fsdp_version 2; for "
            "ZeRO-2 add --fsdp_reshard_after_forward false"
        )


def shard_on_cpu() -> None:
    """Have accelerate divide a model among processes of the CPU, as among those of GPUs.

    PyTorch can, over gloo; accelerate would leave the model whole there without a word. It looks
    at what kind of processes there are when the trainer is made, and notes then that FSDP is used.
    """
    here = processes()
    if sharded() and here.distributed_type == DistributedType.MULTI_CPU:
        vars(here)["distributed_type"] = DistributedType.MULTI_GPU
