"""ONNX Runtime: `--against onnx`, or `onnx=FILE` for one that `plaudit export` wrote."""

from contextlib import AbstractContextManager

from plaudit.model.engines.onnx import session
from plaudit.model.reward_model import RewardModel
from plaudit.verification.peers import Peer, There
from plaudit.verification.peers._runtime import exported


def open_peer(address: str, name: str, model: RewardModel) -> AbstractContextManager[There]:
    """See `Peer`."""
    return exported(address, model, "onnx", session)


PEER = Peer(open_peer)
