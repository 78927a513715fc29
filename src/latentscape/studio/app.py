"""The studio as a web application: routes, the page's files, and errors as sentences."""

from __future__ import annotations

import pkgutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path, PurePosixPath

from fastapi import FastAPI, Request
from starlette.responses import Response

from latentscape.errors import LatentscapeError
from latentscape.studio import routes
from latentscape.studio.places import NotThere
from latentscape.studio.studio import Studio
from latentscape.version import __version__
from latentscape.web.refusals import BROKEN, body_of, say_errors
from latentscape.web.shelf import Shelf

STATIC = Path(__file__).parent / "static"


def make_app(roots: Sequence[Path]) -> FastAPI:
    """The studio over run folders and folders that hold runs (`places.check_roots`), to be put behind a `web.Guard`.

    A request that cannot be met is answered with `{"error": one sentence}`. What is not below /api or /static is the
    one page, which reads its own address.
    """
    studio, shelf = Studio(roots), Shelf(STATIC)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    app = FastAPI(
        title="latentscape studio",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    app.state.studio = studio
    _say_errors(app)
    for module in pkgutil.iter_modules(routes.__path__):
        app.include_router(import_module(f"{routes.__name__}.{module.name}").router(studio))
    _add_page(app, shelf)
    return app


def _add_page(app: FastAPI, shelf: Shelf) -> None:
    names = [PurePosixPath(name) for name in shelf.items]
    pages = sorted(p.stem for p in names if p.parent == PurePosixPath("js/pages") and p.suffix == ".js")
    index = shelf.items["index.html"]

    @app.get("/api/pages")
    def modules() -> list[str]:
        """Modules of pages, which the browser loads."""
        return pages

    @app.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def unknown(rest: str) -> None:
        """What is asked of the studio and is nothing it can do."""
        raise NotThere("the studio cannot do that; reload the page, it may be of another version")

    app.mount("/static", shelf)

    @app.get("/{rest:path}")
    def page(rest: str) -> Response:
        """One page for all addresses."""
        return Response(index.body, headers={"cache-control": "no-cache"}, media_type=index.media_type)


def _say_errors(app: FastAPI) -> None:
    """Every error as one sentence; a job that failed for no fault of the user's is a 500."""
    say_errors(app)

    async def failed(_: Request, error: Exception) -> Response:
        said = str(error) if isinstance(error, LatentscapeError) else BROKEN
        return Response(body_of(said), 500, media_type="application/json")

    app.add_exception_handler(LatentscapeError, failed)
    app.add_exception_handler(Exception, failed)
