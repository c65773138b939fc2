"""The pages of the service: `/` to score by hand, `/label` to rank completions by hand.

Pages are plain HTML, CSS and ES modules from `static/`, without a build step or anything from
elsewhere; their policy lets nothing else run or be asked for. The endpoints under `/label/` are the
labelling page's own. They write only on a POST of application/json, which a page of another site
cannot send. Keys, hosts and sizes of requests are checked round all of it by the service.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from plaudit.data.convert import writable_layouts, written
from plaudit.errors import PlauditError
from plaudit.labelling.labelling import LONGEST_NOTE, LabelError, Labelling, Score
from plaudit.serving.gate import RefusedError, invalid, json_response, read_json

# What a browser gets without a key: nothing in them is anybody's data.
PUBLIC = ("/", "/label", "/static/")

STATIC = {
    "common.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "data.js": "text/javascript; charset=utf-8",
    "label.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
DATA_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
EXPORTED = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
STATUS = {"unknown": 404, "labelled": 409, "conflict": 409, "invalid": 422}
LONGEST_NAME = 64  # of a window, an item or a person
MOST_COMPLETIONS = 100_000  # of one prompt, in a request


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    window: str = Field(min_length=1, max_length=LONGEST_NAME)
    annotator: str = Field("", max_length=LONGEST_NAME)


class _OneBody(_Body):
    id: str = Field(max_length=LONGEST_NAME)


class _SaveBody(_OneBody):
    ranks: list[Annotated[int, Field(ge=1, le=MOST_COMPLETIONS)]] = Field(
        min_length=2, max_length=MOST_COMPLETIONS, fail_fast=True
    )
    note: str = Field("", max_length=LONGEST_NOTE)
    all_bad: bool = False


class _ReopenBody(_OneBody):
    by: str = Field(max_length=LONGEST_NAME)


class _ListBody(_Body):
    before: int | None = Field(None, ge=0)


class _ExportBody(_Body):
    layout: str = Field(max_length=LONGEST_NAME)
    kind: Literal["jsonl", "csv", "xlsx"] = "jsonl"


B = TypeVar("B", bound=_Body)
T = TypeVar("T")


def router(labelling: Labelling | None, score: Score) -> APIRouter:
    """The routes of the pages.

    Args:
        labelling: what is to be labelled; without it `/label` says how to start it.
        score: gives the rewards of a prompt's completions by way of the service's own queue; what
            is to be labelled is scored by it while the service runs.

    >>> async def score(prompt, completions):
    ...     return [float(len(completion)) for completion in completions]
    >>> sorted({route.path for route in router(None, score).routes})
    ['/', '/label', '/static/{name}']
    """

    @asynccontextmanager
    async def while_running(app: FastAPI) -> AsyncIterator[None]:
        scoring = labelling and asyncio.create_task(labelling.score(score))
        yield
        if scoring:
            scoring.cancel()

    routes = APIRouter(lifespan=while_running, include_in_schema=False)

    @routes.get("/")
    async def scoring_page() -> Response:
        return _static("index.html", "text/html; charset=utf-8")

    @routes.get("/label")
    async def labelling_page() -> Response:
        name = "label.html" if labelling else "no_label.html"
        return _static(name, "text/html; charset=utf-8")

    @routes.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in STATIC:
            raise RefusedError(404, "not_found", "there is no such file")
        return _static(name, STATIC[name])

    if labelling is not None:
        _add_labelling(routes, labelling)
    return routes


def _add_labelling(routes: APIRouter, labelling: Labelling) -> None:
    @routes.get("/label/state")
    async def state(window: str = "", annotator: str = "") -> Response:
        of = window[:LONGEST_NAME], annotator[:LONGEST_NAME]
        return json_response(await run_in_threadpool(labelling.state, *of), headers=DATA_HEADERS)

    async def said(request: Request, body: type[B], act: Callable[[B], T]) -> tuple[B, T]:
        """The body of a request, and what `act` gives for it; or why not, in words."""
        try:
            given = body.model_validate(await read_json(request))
            return given, await run_in_threadpool(act, given)
        except ValidationError as error:
            raise invalid(error) from None
        except LabelError as error:
            raise RefusedError(STATUS[error.kind], error.kind, str(error)) from None
        except PlauditError as error:  # the file cannot be written
            raise RefusedError(500, "not_written", str(error)) from None

    async def answer(request: Request, body: type[B], act: Callable[[B], Any]) -> Response:
        """What `act` gives as the item to show, with the state after it."""
        given, item = await said(request, body, act)
        state = await run_in_threadpool(labelling.state, given.window, given.annotator.strip())
        return json_response({"item": item, "state": state}, headers=DATA_HEADERS)

    @routes.post("/label/next")
    async def next_item(request: Request) -> Response:
        def act(body: _Body) -> Any:
            return labelling.next(body.window, body.annotator)

        return await answer(request, _Body, act)

    @routes.post("/label/save")
    async def save(request: Request) -> Response:
        def act(body: _SaveBody) -> Any:
            labelling.save(
                body.window, body.id, body.ranks, body.annotator, body.note, body.all_bad
            )
            return labelling.next(body.window, body.annotator)

        return await answer(request, _SaveBody, act)

    @routes.post("/label/skip")
    async def skip(request: Request) -> Response:
        def act(body: _OneBody) -> Any:
            labelling.skip(body.window, body.id, body.annotator)
            return labelling.next(body.window, body.annotator)

        return await answer(request, _OneBody, act)

    @routes.post("/label/undo")
    async def undo(request: Request) -> Response:
        def act(body: _Body) -> Any:
            return labelling.undo(body.window, body.annotator)

        return await answer(request, _Body, act)

    @routes.post("/label/reopen")
    async def reopen(request: Request) -> Response:
        def act(body: _ReopenBody) -> Any:
            return labelling.reopen(body.window, body.id, body.by, body.annotator)

        return await answer(request, _ReopenBody, act)

    @routes.post("/label/labelled")
    async def labelled(request: Request) -> Response:
        def act(body: _ListBody) -> dict[str, Any]:
            return labelling.labelled(body.before)

        _, found = await said(request, _ListBody, act)
        return json_response(found, headers=DATA_HEADERS)

    @routes.post("/label/people")
    async def people(request: Request) -> Response:
        def act(_: _Body) -> dict[str, Any]:
            return labelling.people() | {"layouts": writable_layouts()}

        _, found = await said(request, _Body, act)
        return json_response(found, headers=DATA_HEADERS)

    @routes.post("/label/export")
    async def export(request: Request) -> Response:
        def act(body: _ExportBody) -> bytes:
            try:
                return written(labelling.rankings(), body.layout, body.kind)[0]
            except PlauditError as error:
                raise LabelError("invalid", str(error)) from None

        given, content = await said(request, _ExportBody, act)
        return Response(content, media_type=EXPORTED[given.kind], headers=DATA_HEADERS)


def _static(name: str, media_type: str) -> Response:
    content = files("plaudit.serving").joinpath("static", name).read_bytes()
    return Response(content, media_type=media_type, headers=HEADERS)
