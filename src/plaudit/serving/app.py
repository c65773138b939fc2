"""The service as an ASGI application: which path has which protocol, and how a request is answered.

`build_app` makes it of a scorer and settings; `server.serve` runs it. A request passes the `gate`,
is understood (`protocols`), scored together with others (`batcher`) and answered. Handlers take the
raw request, so that refusals are ours; OpenAPI's description comes from the protocols' own models.
"""

import asyncio
import inspect
import json
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import reduce
from operator import or_
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import PydanticCustomError, to_json
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from plaudit.console import say
from plaudit.data.cells import characters
from plaudit.data.rankings import Text
from plaudit.labelling.labelling import Labelling
from plaudit.model.scorer import Scorer
from plaudit.serving import page
from plaudit.serving.asked import MAX_MESSAGES, Asked, job_of
from plaudit.serving.batcher import (
    Batcher,
    Job,
    ModelError,
    NotScorableError,
    QueueFullError,
    Scored,
    Work,
)
from plaudit.serving.gate import GONE, Gate, RefusedError, invalid, json_response, read_json
from plaudit.serving.metrics import MEDIA_TYPE
from plaudit.serving.protocols import Protocol, by_path, examples_of, spoken_in
from plaudit.serving.settings import ServiceSettings

MOST_FIELDS = 100  # of a request: clients of other programs send some that are not known here
# What anybody may ask, with or without a key.
PUBLIC = ("/health", "/ready", *page.PUBLIC)


class Refused(BaseModel):
    """Why a request is not answered."""

    message: str
    type: str
    where: str | None = None
    examples: dict[str, Any] | None = Field(
        default=None, description="Bodies that are right here, by protocol."
    )


class RefusedResponse(BaseModel):
    """The body of every 4xx and 5xx."""

    error: Refused


class Service:
    """What the endpoints share. `draining` says that it is about to stop and takes nothing new."""

    def __init__(self, scorer: Scorer, settings: ServiceSettings) -> None:
        self.scorer = scorer
        self.settings = settings
        self.batcher = Batcher(scorer, settings)
        self.draining = False
        self.started = int(time.time())
        self._told_of_whole = not any(encoding.is_pair for encoding in scorer.encodings)

    async def answer(self, request: Request, spoken: Mapping[str, Protocol]) -> Response:
        """Read, score, reply, in the protocol of the path that the request is in."""
        if self.draining:
            raise RefusedError(503, "stopping", "the service is stopping", retry_after="5")
        try:
            content = await read_json(request)
        except RefusedError as refused:
            if refused.status in (400, 415):  # no JSON
                refused.examples = examples_of(spoken)
            raise
        if isinstance(content, dict) and len(content) > MOST_FIELDS:
            raise RefusedError(422, "too_many", f"more than {MOST_FIELDS} fields")
        name, protocol = spoken_in(content, spoken)
        kind = protocol.request
        self._check_counts(content, kind)
        examples = examples_of({name: protocol})
        try:
            asked = kind.model_validate(content)
            job = asked.job()
        except ValidationError as error:
            raise invalid(error, examples) from None
        except PydanticCustomError as error:
            raise RefusedError(422, "invalid", error.message(), examples=examples) from None
        self._check_size(job, kind.texts_field)
        request.scope["completions"] = len(job.texts)
        if not self._told_of_whole and None in job.prompts and None in (job.begins or [None]):
            self._told_of_whole = True
            say(
                f"{request.url.path} is asked with prompt and completion in one text, and this "
                "encoder reads a pair: the reward is another one than that of the two apart; send "
                "them apart, to /score for one (said once)"
            )
        # A client that shards its rows over servers may have none left for this one.
        scored = await self._score(request, job) if job.texts else Scored([], [], 0)
        if self.settings.log_text:
            alike = len({id(prompt) for prompt in job.prompts}) == 1
            prompts = {"prompt": job.prompts[0]} if alike else {"prompts": job.prompts}
            shown = prompts | {"texts": job.texts, "rewards": scored.rewards}
            say(to_json(shown).decode())
        return json_response(asked.reply(scored, self.scorer.scale, self.settings.name))

    async def rewards(self, prompt: Text, completions: Sequence[Text]) -> list[float]:
        """For work of the service's own, which can wait: it has time, and goes when the rest goes.

        Raises `NotScorableError` or `ModelError`.
        """
        job = job_of(prompt, completions)
        while True:
            while self.draining or not self.batcher.warm:
                await asyncio.sleep(0.1)
            try:
                work = self.batcher.submit(job)
                break
            except QueueFullError as full:
                await asyncio.sleep(full.retry_after)
        try:
            return (await asyncio.shield(work.answer)).rewards
        finally:
            self.batcher.drop(work)

    def _check_counts(self, content: Any, kind: type[Asked]) -> None:
        """Refuse what has far too much in it before each of it is looked at: the faults of a
        million texts take a minute and gigabytes to be told."""
        if not isinstance(content, dict):
            return
        most = max(self.settings.max_completions, MAX_MESSAGES)
        for name in kind.model_fields:
            value = content.get(name)
            if isinstance(value, list) and len(value) > most:
                reason = f"has {len(value):,} entries, and {most:,} are the most"
                raise RefusedError(422, "too_many", reason, name)

    def _check_size(self, job: Job, where: str) -> None:
        most, longest = self.settings.max_completions, self.settings.max_characters
        if len(job.texts) > most:
            reason = f"{len(job.texts):,} texts, and {most:,} are the most for one request"
            raise RefusedError(422, "too_many", reason, where)
        reason = f"has more than {longest:,} characters"
        for prompt in {id(prompt): prompt for prompt in job.prompts}.values():
            if prompt is not None and characters(prompt) > longest:
                raise RefusedError(422, "too_long", reason, "prompt")
        for index, text in enumerate(job.texts):
            if characters(text) > longest:
                raise RefusedError(422, "too_long", reason, f"{where}[{index}]")

    async def _score(self, request: Request, job: Job) -> Scored:
        try:
            work = self.batcher.submit(job)
        except ModelError as error:
            raise RefusedError(500, "model", str(error)) from None
        except QueueFullError as full:
            wait = str(full.retry_after)
            reason = f"too much waits already; try again in {wait} s"
            raise RefusedError(503, "queue_full", reason, retry_after=wait) from None
        # The body is read, so all that can still come of the client is that it goes.
        gone = asyncio.ensure_future(request.receive())
        try:
            return await self._answer_of(work, gone)
        except NotScorableError as error:
            raise RefusedError(422, "invalid", str(error)) from None
        except ModelError as error:
            raise RefusedError(500, "model", str(error)) from None
        finally:
            gone.cancel()
            self.batcher.drop(work)

    async def _answer_of(self, work: Work, gone: "asyncio.Future[Any]") -> Scored:
        timeout = self.settings.timeout
        await asyncio.wait(
            (work.answer, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if work.answer.done():
            return work.answer.result()
        if gone.done():
            raise RefusedError(GONE, "gone", "the client went away")
        reason = (
            f"no answer within {timeout:g} s: send fewer completions a request, or have the "
            "service started with a larger --timeout"
        )
        raise RefusedError(504, "timeout", reason, retry_after="5")


def build_app(
    scorer: Scorer, settings: ServiceSettings | None = None, labelling: Labelling | None = None
) -> FastAPI:
    """The service of a reward model or an ensemble, with its pages.

    >>> from plaudit import RewardModel
    >>> app = build_app(RewardModel.load("runs/first"))
    >>> "/score" in app.openapi()["paths"]
    True
    """
    service = Service(scorer, settings or ServiceSettings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await asyncio.to_thread(service.batcher.close)

    app = FastAPI(
        title="plaudit",
        docs_url=None,  # those pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    for path, spoken in by_path().items():
        app.post(path, **_described(path, spoken))(_handler(service, spoken))
    _add_facts(app, service)
    _add_refusals(app, closed=bool(service.settings.keys))
    app.include_router(page.router(labelling, service.rewards))
    app.add_middleware(
        Gate,
        settings=service.settings,
        metrics=service.batcher.metrics,
        endpoints=frozenset(route.path for route in app.routes if hasattr(route, "path")),
        public=PUBLIC,
    )
    if service.settings.allowed_origin:  # round the gate: a browser asks first, without a key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.allowed_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["Retry-After"],
        )
    return app


def _handler(
    service: Service, spoken: Mapping[str, Protocol]
) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        return await service.answer(request, spoken)

    return handler


def _described(path: str, spoken: Mapping[str, Protocol]) -> dict[str, Any]:
    """What OpenAPI says of an endpoint."""
    refused = {"model": RefusedResponse, "description": "Refused; the body says why."}
    each = [one.request.model_json_schema() for one in spoken.values()]
    schema = {"anyOf": each} if len(each) > 1 else each[0]
    about = {name: inspect.getdoc(one.request) or "" for name, one in spoken.items()}
    told = [f"**{name}**: {text}" if len(about) > 1 else text for name, text in about.items()]
    bodies = examples_of(spoken)
    examples = {name: {"value": body} for name, body in bodies.items()}
    return {
        "summary": f"{path} ({', '.join(spoken)})",
        "operation_id": path.strip("/").replace("/", "_"),
        "description": "\n\n".join(told),
        "responses": {
            200: {"model": reduce(or_, (one.answer for one in spoken.values()))},
            "4XX": refused,
            "5XX": refused,
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema, "examples": examples}},
            },
            "x-codeSamples": [
                {"lang": "Shell", "label": name, "source": _in_a_shell(path, body)}
                for name, body in bodies.items()
            ],
        },
    }


def _in_a_shell(path: str, body: Mapping[str, Any]) -> str:
    """A command that asks it of a service on its usual address."""
    return (
        f"curl -s http://127.0.0.1:8000{path} -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(body))}"
    )


def _add_facts(app: FastAPI, service: Service) -> None:
    """What can be asked about the service itself."""

    @app.get("/health")
    async def health() -> Response:
        """Whether the service lives."""
        if service.batcher.failed is not None:
            raise RefusedError(500, "failed", "the service has failed: start it anew")
        return json_response({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Response:
        """Whether it takes requests: the model is warm, and the service is not stopping."""
        if service.batcher.failed is not None:
            raise RefusedError(503, "failed", "the service has failed: start it anew")
        if service.draining:
            raise RefusedError(503, "stopping", "the service is stopping")
        if not service.batcher.warm:
            raise RefusedError(503, "warming", "the model is not warm yet", retry_after="1")
        return json_response({"status": "ready"})

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters, as Prometheus reads them."""
        return Response(service.batcher.metrics.text(), media_type=MEDIA_TYPE)

    facts = {
        "id": service.settings.name,
        "object": "model",
        "created": service.started,
        "owned_by": "plaudit",
        "max_model_len": service.scorer.max_length,
    }

    @app.get("/v1/models")
    async def models() -> Response:
        """The one model, as OpenAI's clients list them."""
        return json_response({"object": "list", "data": [facts]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """The one model by its name."""
        if name != service.settings.name:
            raise RefusedError(404, "not_found", "no such model; GET /v1/models names the one")
        return json_response(facts)


def _add_refusals(app: FastAPI, *, closed: bool) -> None:
    """Refusals in our form; `closed` is a service that asks for a key."""
    told = "GET /openapi.json, with a key," if closed else "GET /openapi.json"

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def no_such(request: Request, error: HTTPException) -> Response:
        kind, message = {
            404: ("not_found", f"nothing is here; {told} says what there is"),
            405: ("method", f"not with this method; {told} says with which"),
        }.get(error.status_code, ("invalid", "the request cannot be read"))
        answer = RefusedError(error.status_code, kind, message).response()
        answer.headers.update(error.headers or {})
        return answer
