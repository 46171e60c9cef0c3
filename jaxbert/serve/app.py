"""The app: a page, and the JSON API behind it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from collections.abc import Mapping
from importlib import resources

import jinja2
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from jaxbert.errors import InputError
from jaxbert.serve import wire
from jaxbert.serve.batcher import Batcher, QueueFull
from jaxbert.serve.counters import Counters
from jaxbert.serve.guards import Guard, Limits, fault
from jaxbert.serve.served_models import ServedModel

_PAGE = resources.files("jaxbert.serve") / "page"
_KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_FAULTS = {
    400: "A field is missing, empty or another task's; or there is no such model.",
    408: "The request did not come, or was not answered, in time.",
    413: "The request is too large.",
    415: "The body is not JSON.",
    422: "The body is not of this form.",
    500: "The model failed; the server's log says why.",
    503: "The models are being compiled, or too many requests wait. Try again.",
}
_RESPONSES: dict[int | str, dict[str, str | type[wire.Fault]]] = {
    status: {"model": wire.Fault, "description": said} for status, said in _FAULTS.items()
}


class Refusal(Exception):  # noqa: N818 - no fault of the program
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status, self.error = status, error


def make_app(
    models: Mapping[str, ServedModel], batcher: Batcher, limits: Limits, counters: Counters
) -> Guard:
    """The app, behind its guard. Whoever starts the batcher stops it."""
    app = FastAPI(
        title="jaxbert",
        summary="Ask fine-tuned BERT models.",
        version=importlib.metadata.version("jaxbert"),
        docs_url=None,  # their scripts are on another site
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    _add_faults(app)
    _add_api(app, models, batcher, limits, counters)
    _add_pages(app, models)
    batcher.batches = counters.rows.observe
    counters.waiting.set_function(lambda: batcher.waiting)
    counters.ready.set_function(lambda: batcher.status == "ready")
    return Guard(app, limits, counters.count)


def _add_faults(app: FastAPI) -> None:
    """Every fault is a sentence in JSON."""

    @app.exception_handler(InputError)
    async def input_error(request: Request, error: InputError) -> JSONResponse:
        return fault(400, str(error))

    @app.exception_handler(Refusal)
    async def refusal(request: Request, error: Refusal) -> JSONResponse:
        return fault(error.status, error.error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:] if isinstance(part, str))
        said = f"{where}: {first['msg']}" if where else str(first["msg"])
        return fault(422, said)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        said = {404: "there is no such page; / is one, and /docs tells of the others"}
        said[405] = "this page does not take that method; /docs tells which it takes"
        return fault(error.status_code, said.get(error.status_code, str(error.detail)))


def _add_api(
    app: FastAPI,
    models: Mapping[str, ServedModel],
    batcher: Batcher,
    limits: Limits,
    counters: Counters,
) -> None:
    def find(name: str | None) -> ServedModel:
        if name is None and len(models) == 1:
            return next(iter(models.values()))
        if name is None:
            raise InputError(f"model is missing; there are {', '.join(models)}")
        if name not in models:
            raise InputError(f"there is no such model; there are {', '.join(models)}")
        return models[name]

    @app.post("/predict", responses=_RESPONSES)
    async def predict(ask: wire.Ask) -> wire.Answer:
        """Answer one request. Those that come together are computed together."""
        model = find(ask.model)
        model.check(ask)
        if batcher.status != "ready":
            raise Refusal(503, "the models are being compiled; /health says when they are ready")
        begun = time.perf_counter()
        try:
            waiting = batcher.put(model.name, ask)
        except QueueFull:
            raise Refusal(503, "too many requests are waiting; try again in a moment") from None
        try:
            async with asyncio.timeout(limits.seconds):
                answer = await asyncio.wrap_future(waiting)
        except TimeoutError:
            raise Refusal(
                408, f"there was no answer within {limits.seconds:g} seconds; send a shorter text"
            ) from None
        except InputError:
            raise
        except Exception:
            raise Refusal(500, "the model failed; the server's log says why") from None
        counters.seconds.labels(model.name).observe(time.perf_counter() - begun)
        return answer

    @app.get("/models")
    async def list_models() -> list[wire.About]:
        """The models, and the fields that their requests have."""
        return [
            wire.About(name=m.name, task=m.task, fields=[field.name for field in m.fields])
            for m in models.values()
        ]

    @app.get("/health", responses={503: {"model": wire.Health, "description": "Not ready."}})
    async def health(response: Response) -> wire.Health:
        """Whether requests are taken: status 200 when they are, else 503."""
        response.status_code = 200 if batcher.status == "ready" else 503
        return wire.Health(status=batcher.status, version=app.version)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Requests, seconds, batches and the queue, as Prometheus reads them."""
        return Response(counters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_pages(app: FastAPI, models: Mapping[str, ServedModel]) -> None:
    """The page, the page of the API, and their files, which are read now and not later."""
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(
            {name: (_PAGE / name).read_text("utf-8") for name in ("ask.html", "api.html")}
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    by_task: dict[str, list[ServedModel]] = {}
    for model in models.values():
        by_task.setdefault(model.task, []).append(model)

    @app.get("/", include_in_schema=False)
    async def page(task: str = next(iter(by_task))) -> HTMLResponse:
        if task not in by_task:
            raise Refusal(404, f"no model is of that task; there are {', '.join(by_task)}")
        text = environment.get_template("ask.html").render(
            tasks={name: each[0].title for name, each in by_task.items()},
            task=task,
            models=by_task[task],
            form=by_task[task][0],
        )
        return HTMLResponse(text)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        schema = app.openapi()
        example = next(iter(models.values()))
        texts = next(iter(example.examples.values()))
        body = {"model": example.name}
        for field, text in zip(example.fields, texts, strict=True):
            if text:
                sentence, dot, _ = text.partition(". ")
                body[field.name] = sentence + dot.strip()
        return HTMLResponse(
            environment.get_template("api.html").render(
                base=request.base_url,
                paths=schema["paths"],
                schemas=schema["components"]["schemas"],
                example=body,
            )
        )

    def add_file(name: str) -> None:
        content = (_PAGE / name).read_bytes()
        kind = _KINDS[name.rpartition(".")[2]]

        @app.get(f"/{name}", include_in_schema=False)
        async def file() -> Response:
            return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    for name in ("page.js", "page.css", "icon.svg"):
        add_file(name)
