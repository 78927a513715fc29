"""Files of the package by exact name, from memory."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from latentscape.web.binding import bind
from latentscape.web.guard import Guard
from latentscape.web.refusals import say_errors
from latentscape.web.runner import in_background
from latentscape.web.shelf import Shelf


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "secret.txt").write_text("secret")
    shelf = folder / "static"
    (shelf / "parts").mkdir(parents=True)
    (shelf / "__pycache__").mkdir()
    for name in ("app.js", "parts/deep.mjs", "index.html", "x.wasm", ".hidden", "__pycache__/x.pyc", "a b.css"):
        (shelf / name).write_text(name)
    app = FastAPI(docs_url=None, redoc_url=None)
    say_errors(app)
    app.mount("/static", Shelf(shelf))
    binding = bind("127.0.0.1", 0)
    with (
        in_background(Guard(app, binding), binding) as url,
        httpx.Client(base_url=url("/"), trust_env=False) as made,
    ):
        (shelf / "late.js").write_text("late")
        yield made


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("/static/app.js", "app.js", "text/javascript; charset=utf-8"),
        ("/static/parts/deep.mjs", "parts/deep.mjs", "text/javascript; charset=utf-8"),
        ("/static/x.wasm", "x.wasm", "application/wasm"),
        ("/static/a%20b.css", "a b.css", "text/css; charset=utf-8"),
        ("/static/", "index.html", "text/html; charset=utf-8"),
    ],
)
def test_files_are_handed_out(client: httpx.Client, path: str, text: str, kind: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["content-type"] == kind
    assert answer.headers["cache-control"] == "no-cache"
    head = client.head(path)
    assert (head.text, head.headers["content-length"]) == ("", str(len(text)))


@pytest.mark.parametrize(
    "path",
    ["late.js", ".hidden", "__pycache__/x.pyc", "parts", "..%2fsecret.txt", "%2e%2e/secret.txt", "parts/..%2fapp.js"],
)
def test_nothing_else_is(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/static/{path}")
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


def test_a_copy_that_is_still_good_is_not_sent_again(client: httpx.Client) -> None:
    first = client.get("/static/app.js")
    again = client.get("/static/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get("/static/app.js", headers={"if-none-match": '"other"'})
    assert other.status_code == 200
    assert client.post("/static/app.js").status_code == 405
