"""A package's own files, read once at the start and handed out by exact name: no path of a request is ever opened."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from latentscape.web.refusals import Receive, Scope, Send, answer

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
"""Not left to the machine's own table, which may say text/plain of JavaScript."""


@dataclass(frozen=True)
class Item:
    """A file's bytes, what they are, and a name for this version of them."""

    body: bytes
    media_type: str
    etag: str


class Shelf:
    """An ASGI application to mount: `app.mount("/static", Shelf(folder))`.

    The address of the shelf itself is its index.html. Everything under `folder` is read at once, except names that
    begin with a dot or two underscores. Browsers ask each time whether their copy is still good (ETag), so a new
    version of the package is seen at once.
    """

    def __init__(self, folder: Path) -> None:
        self.items = {
            path.relative_to(folder).as_posix(): _item(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not any(p.startswith((".", "__")) for p in path.relative_to(folder).parts)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        item = self.items.get(path or "index.html")
        if scope["method"] not in ("GET", "HEAD"):
            await answer(send, 405, "files are only read: use GET", {"allow": "GET, HEAD"})
        elif item is None:
            await answer(send, 404, "there is no file of this name here")
        else:
            await _hand_out(item, scope, send)


async def _hand_out(item: Item, scope: Scope, send: Send) -> None:
    known = any(name.lower() == b"if-none-match" and item.etag.encode() in value for name, value in scope["headers"])
    headers = [(b"etag", item.etag.encode()), (b"cache-control", b"no-cache")]
    if not known:
        headers += [
            (b"content-type", item.media_type.encode()),
            (b"content-length", str(len(item.body)).encode()),
        ]
    await send({"type": "http.response.start", "status": 304 if known else 200, "headers": headers})
    empty = known or scope["method"] == "HEAD"
    await send({"type": "http.response.body", "body": b"" if empty else item.body})


def _item(path: Path) -> Item:
    body = path.read_bytes()
    kind = TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Item(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
