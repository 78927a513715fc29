"""The HTTP application over an exported model."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from latentscape.serve import answers, bodies, described
from latentscape.serve.exported import Arrays, Exported
from latentscape.serve.joining import Joined
from latentscape.serve.measures import MEDIA_TYPE, Measured, Measures
from latentscape.version import __version__
from latentscape.web.binding import Binding
from latentscape.web.guard import Guard
from latentscape.web.limits import Limits
from latentscape.web.refusals import ASGI, Refused, say_errors
from latentscape.web.shelf import Shelf

T = TypeVar("T")

TOGETHER = 64
"""Examples in one run of the nets, from however many requests."""

WAITING = 2048
"""Examples that may wait for the nets; beyond: 503."""

MOST_NUMBERS = 4 << 20
"""Most numbers in one answer; beyond: 413."""

SMALL = 1 << 15
"""Bytes of a JSON body, and numbers of an answer, that are worked on at once; larger ones go to a thread."""

HELPERS = 2
"""Threads that decode and encode pictures and large JSON: so many pictures are in memory at once."""

OPEN = ("/healthz", "/readyz")
"""What answers without a token, however busy the server is."""

OPERATIONS = ("encode", "decode", "reconstruct", "sample", "score")
ENDPOINTS = frozenset(
    {f"/v1/{name}" for name in (*OPERATIONS, "card")} | {*OPEN, "/metrics", "/openapi.json", "/docs/"}
)

PAGES = Path(__file__).with_name("pages")


class Api:
    """The operations as handlers of requests."""

    def __init__(self, exported: Exported, limits: Limits, measures: Measures) -> None:
        self.exported, self.card, self.limits = exported, exported.card, limits
        self.joined = Joined(exported.operations, TOGETHER, WAITING, measures.ran)
        self.helpers = ThreadPoolExecutor(HELPERS, thread_name_prefix="bodies")

    def close(self) -> None:
        """End the threads."""
        self.joined.close()
        self.helpers.shutdown(cancel_futures=True)

    async def encode(self, request: Request) -> Response:
        """Where examples lie in the latent space: the means of their posteriors, or the codes."""
        given, _ = await self._examples(request, bodies.ExamplesBody, "encode")
        return await self._told(await self.joined("encode", given))

    async def decode(self, request: Request) -> Response:
        """The examples that latents stand for."""
        asked = await _asked(request)
        body = bodies.parsed(bodies.DecodeBody, asked)
        given = {"z": bodies.latents_of(body.z, self.card, self.limits)}
        given |= self._labels(body, len(given["z"]), "decode")
        self._check(request, body.format, len(given["z"]))
        answer = await self.joined("decode", given)
        return await self._drawn(request, body.format, answer["x"], {})

    async def reconstruct(self, request: Request) -> Response:
        """Examples encoded and decoded, with the mean squared error of each on [0, 1]."""
        given, body = await self._examples(request, bodies.ReconstructBody, "reconstruct")
        self._check(request, body.format, len(given["x"]))
        answer = await self.joined("reconstruct", given)
        return await self._drawn(request, body.format, answer["x"], {"mse": answer["mse"]})

    async def sample(self, request: Request) -> Response:
        """New examples: latents of the prior, decoded. The same seed gives the same ones."""
        body = bodies.parsed(bodies.SampleBody, await _asked(request))
        self._check(request, body.format, body.n)
        seed = secrets.randbelow(1 << 32) if body.seed is None else body.seed
        labels = self._labels(body, body.n, "sample")
        z_NL = self.exported.draw(body.n, seed, body.temperature)
        answer = await self.joined("decode", {"z": z_NL, **labels})
        return await self._drawn(request, body.format, answer["x"], {"z": z_NL, "seed": seed})

    async def score(self, request: Request) -> Response:
        """How badly examples are reconstructed, and what percentage of normal held-out ones does better."""
        given, _ = await self._examples(request, bodies.ExamplesBody, "score")
        mse_B = (await self.joined("reconstruct", given))["mse"]
        about = {"kind": "reconstruction_mse", "normal_examples": self.card.score_n}
        return await self._told({"scores": mse_B, "percentiles": self.exported.percentile(mse_B), **about})

    async def _examples(self, request: Request, kind: type[Any], ability: str) -> tuple[Arrays, Any]:
        asked = await _asked(request)
        work = asked.is_picture or len(asked.data) > SMALL
        given, body = await self._aside(work, lambda: bodies.examples(asked, kind, self.card, self.limits))
        return given | self._labels(body, len(given["x"]), ability), body

    def _labels(self, body: bodies.Body, n: int, ability: str) -> Arrays:
        return bodies.label_numbers(body.labels, n, self.card, self.exported.wants_labels(ability))

    def _check(self, request: Request, form: str, n: int) -> None:
        """Refuse answers that cannot be given before they are computed."""
        bodies.check_answer(n, self.card.shape, self.limits, MOST_NUMBERS)
        if (form == "png" or answers.wants_png(request.headers.get("accept", ""))) and not self.card.is_picture:
            raise Refused(406, "this model makes no pictures; ask for JSON numbers")

    async def _drawn(self, request: Request, form: str, x_BX: np.ndarray, more: dict[str, Any]) -> Response:
        """Examples as a PNG file, as PNGs in JSON, or as numbers."""
        if answers.wants_png(request.headers.get("accept", "")):
            file = await self._aside(True, lambda: answers.png(answers.sheet(answers.to_pixels(x_BX, self.card))))
            headers = {"x-latentscape-seed": str(more["seed"])} if "seed" in more else {}
            return Response(file, media_type=answers.PNG, headers=headers)
        if form == "png":
            files = await self._aside(True, lambda: answers.pngs(answers.to_pixels(x_BX, self.card)))
            return await self._told({"png": files, **more})
        return await self._told({"x": x_BX, **more})

    async def _told(self, content: dict[str, Any]) -> Response:
        large = sum(v.size for v in content.values() if isinstance(v, np.ndarray)) > SMALL
        body = await self._aside(large, lambda: answers.as_json(content))
        return Response(body, media_type="application/json")

    async def _aside(self, in_thread: bool, function: Callable[[], T]) -> T:
        """What takes long leaves the event loop to the other requests."""
        if not in_thread:
            return function()
        return await asyncio.get_running_loop().run_in_executor(self.helpers, function)


async def _asked(request: Request) -> bodies.Asked:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if set(request.query_params) - {"label"}:
        raise Refused(422, "the address has a parameter that is not known; only a picture's bytes take one: ?label=")
    return bodies.Asked(await request.body(), kind, tuple(request.query_params.getlist("label")))


def make_app(
    exported: Exported, binding: Binding, limits: Limits | None = None, measures: Measures | None = None
) -> ASGI:
    """The application with its guard and its measures around it."""
    limits, measures = limits or Limits(), measures or Measures()
    api = Api(exported, limits, measures)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            api.close()

    app = FastAPI(
        title=f"latentscape serve: {exported.card.name}",
        version=__version__,
        description=described.ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    say_errors(app)
    _add_operations(app, api)
    _add_pages(app, api, measures)
    measures.gauges["latentscape_queue_examples"] = ("Examples that wait for the nets.", lambda: api.joined.waiting)
    return Measured(Guard(app, binding, limits, open_paths=OPEN), measures, ENDPOINTS)


def _add_operations(app: FastAPI, api: Api) -> None:
    for name in OPERATIONS:
        if name in api.exported.abilities:
            app.add_api_route(
                f"/v1/{name}",
                getattr(api, name),
                methods=["POST"],
                operation_id=name,
                summary=described.SUMMARIES[name],
                response_class=Response,
                responses=described.responses(name),
                openapi_extra=described.request(name, api.exported, api.limits),
            )
        else:
            app.add_api_route(f"/v1/{name}", _unable(name), methods=["POST"], include_in_schema=False)


def _unable(name: str) -> Callable[[], Any]:
    async def refuse() -> Response:
        raise Refused(404, f"this model cannot {name}; GET /v1/card tells what it can do")

    return refuse


def _add_pages(app: FastAPI, api: Api, measures: Measures) -> None:
    card = api.card.public() | {"abilities": list(api.exported.abilities)}

    @app.get("/v1/card", summary="What the model is", response_class=JSONResponse)
    async def card_of_the_model() -> JSONResponse:
        """Shape, value range, labels, prior, what was measured, and what can be asked for."""
        return JSONResponse(card)

    @app.get("/healthz", summary="Whether the process lives", response_class=JSONResponse)
    async def live() -> JSONResponse:
        """Always 200 while the server answers at all."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", summary="Whether requests are taken", response_class=JSONResponse)
    async def ready() -> JSONResponse:
        """200 while requests are taken; 503 while the queue is full."""
        if api.joined.waiting >= WAITING:
            raise Refused(503, "the queue is full; send requests elsewhere or later", {"retry-after": "1"})
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Measures for Prometheus", response_class=Response)
    async def metrics() -> Response:
        """Counts, seconds, batches, queue and memory, in Prometheus's text format."""
        return Response(measures.text(), headers={"content-type": MEDIA_TYPE})

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/docs/", 303)

    app.mount("/docs", Shelf(PAGES))
