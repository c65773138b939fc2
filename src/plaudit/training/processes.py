"""The processes of a run: a launcher may have started several that walk the same road."""

from accelerate import PartialState

from plaudit import console
from plaudit.errors import PlauditError
from plaudit.model.devices import best_device


def processes() -> PartialState:
    """The processes of this run, one or many; without an accelerator they talk over the CPU."""
    return PartialState(cpu=best_device() == "cpu")


def say_once(message: str) -> None:
    """Talk of the first process, which speaks for all."""
    if processes().is_main_process:
        console.say(message)


def one_process(command: str) -> None:
    """Raise where a launcher has started several processes of a command that is for one."""
    if processes().num_processes > 1:
        raise PlauditError(f"plaudit {command} runs in one process; start it without a launcher")
