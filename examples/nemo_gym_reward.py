"""A reward model behind `plaudit serve` as a resources server of NeMo Gym.

    plaudit serve runs/first --port 8000

Written for NeMo Gym's main of August 2026. Put this file, as `app.py`, and `remote_reward.py` into
a folder `resources_servers/plaudit`, with the `requirements.txt` of another and a configuration:

    plaudit:
      resources_servers:
        plaudit: {entrypoint: app.py, domain: rlhf, url: "http://127.0.0.1:8000", refused: -5.0}

What the policy answers is the completion, and what it was asked, messages of text, is the prompt. A
dialogue that the service refuses has the reward `refused`; without that its rollout fails, with the
reason.
"""

import asyncio

import remote_reward
from nemo_gym.base_resources_server import (
    BaseResourcesServerConfig,
    BaseVerifyRequest,
    BaseVerifyResponse,
    SimpleResourcesServer,
)


class PlauditConfig(BaseResourcesServerConfig):
    """The address of the service, and the reward of what it refuses."""

    url: str = remote_reward.URL
    refused: float | None = remote_reward.REFUSED


class PlauditResourcesServer(SimpleResourcesServer):
    """Asks `/score` for each rollout; the service gathers what comes at the same time."""

    config: PlauditConfig

    async def verify(self, body: BaseVerifyRequest) -> BaseVerifyResponse:
        """The reward of the answer."""
        asked = body.responses_create_params.input
        if not isinstance(asked, str):
            asked = [message.model_dump(include={"role", "content"}) for message in asked]
        reward, _, _ = await asyncio.to_thread(
            remote_reward.score,
            asked,
            body.response.output_text,
            self.config.url,
            self.config.refused,
        )
        return BaseVerifyResponse(**body.model_dump(), reward=reward)


if __name__ == "__main__":
    PlauditResourcesServer.run_webserver()
