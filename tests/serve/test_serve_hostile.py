"""Requests that are wrong, hostile or slow: each gets a 4xx and one sentence; good ones are answered after them."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

TOKEN = "a-token-of-the-tests"
Z = [[0.0, 0.0, 0.0]]
PIXELS = np.full((6, 5), 0.5).tolist()


@pytest.fixture(scope="module")
def locked(make_served: Callable[..., Any]) -> Iterator[Any]:
    with make_served(token=TOKEN, labels=("cat", "dog")) as server:
        server.works = lambda: server.client.post("/v1/decode", json={"z": Z, "labels": "cat"}).status_code == 200
        yield server


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of some hundred bytes that says it has 3.6 billion pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(100_000), 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def picture(size: tuple[int, int] = (5, 6), kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("L", size, 100).save(out, kind)
    return out.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def check(answer: httpx.Response, *statuses: int, words: str = "") -> None:
    """A refusal: the status, JSON of one sentence, no traces of the inside, the headers of every answer."""
    assert answer.status_code in statuses, answer.text
    assert list(answer.json()) == ["error"]
    sentence = answer.json()["error"]
    assert words in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400
    for inside in ("Traceback", 'File "', "site-packages", "latentscape/", "object at 0x"):
        assert inside not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


DEEP = "[" * 100_000 + "]" * 100_000
BODIES: dict[str, tuple[str, Any, str]] = {
    "no body": ("encode", b"", "x: field required"),
    "not JSON": ("encode", b"{", "invalid JSON"),
    "not UTF-8": ("encode", b'{"x": "\xff\xfe"}', ""),
    "a list": ("encode", [1], ""),
    "a number": ("sample", 5, ""),
    "null": ("sample", None, ""),
    "deep lists": ("encode", f'{{"x": {DEEP}}}'.encode(), ""),
    "deep objects": ("sample", ('{"n":' * 50_000 + "1" + "}" * 50_000).encode(), ""),
    "fewer lists": ("decode", {"z": [[[[[[0]]]]]]}, "3 numbers"),
    "no examples": ("encode", {"x": []}, "x:"),
    "text for a list": ("decode", {"z": "0,0,0"}, "z:"),
    "texts for numbers": ("decode", {"z": [["0", "0", "0"]]}, "numbers"),
    "truth for numbers": ("decode", {"z": [[True, True, True]]}, "numbers"),
    "null for numbers": ("decode", {"z": [[None, 0, 0]]}, "numbers"),
    "objects for numbers": ("decode", {"z": [[{}, 0, 0]]}, "numbers"),
    "ragged": ("decode", {"z": [[0, 0, 0], [0, 0]]}, "equal length"),
    "too long": ("decode", {"z": [[0] * 4]}, "3 numbers"),
    "single numbers": ("decode", {"z": [0, 0, 0]}, "single numbers"),
    "other shape": ("encode", {"x": [[[0] * 6] * 5]}, "1×6×5 numbers"),
    "NaN": ("decode", b'{"z": [[NaN, 0, 0]]}', "finite"),
    "infinity": ("decode", b'{"z": [[Infinity, 0, 0]]}', "finite"),
    "infinite by its exponent": ("decode", b'{"z": [[1e999, 0, 0]]}', "finite"),
    "too large for 32 bits": ("decode", {"z": [[1e300, 0, 0]]}, "finite"),
    "too many digits": ("decode", b'{"z": [[' + b"9" * 3000 + b", 0, 0]]}", ""),
    "far out": ("decode", {"z": [[1e9, 0, 0]]}, "must lie"),
    "out of the value range": ("encode", {"x": [(np.array(PIXELS) * 255).tolist()]}, "0 to 1"),
    "unknown field": ("sample", {"n": 1, "path": "/etc/passwd"}, "path"),
    "n of zero": ("sample", {"n": 0}, "n: "),
    "negative n": ("sample", {"n": -1}, "n: "),
    "broken n": ("sample", {"n": 1.5}, "n: "),
    "n as text": ("sample", {"n": "1"}, "n: "),
    "n as truth": ("sample", {"n": True}, "n: "),
    "negative seed": ("sample", {"seed": -1}, "seed"),
    "seed beyond": ("sample", {"seed": 10**30}, "seed"),
    "hot": ("sample", {"temperature": 1e9}, "temperature"),
    "temperature of NaN": ("sample", b'{"temperature": NaN}', "temperature"),
    "unknown format": ("sample", {"format": "../../x"}, "format"),
    "labels that no one takes": ("decode", {"z": Z, "labels": 1}, "no labels"),
    "not base64": ("encode", {"x": ["../../etc/passwd"]}, "base64"),
    "numbers and pictures": ("encode", {"x": [encoded(picture()), PIXELS]}, "not both"),
}


@pytest.mark.parametrize("name", BODIES)
def test_wrong_bodies(plain: Any, name: str) -> None:
    operation, body, words = BODIES[name]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = plain.client.post(f"/v1/{operation}", content=data, headers={"content-type": "application/json"})
    check(answer, 422, words=words)
    assert plain.works()


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("sample", {"n": 33}),
        ("sample", {"n": 10**12}),
        ("decode", {"z": Z * 33}),
        ("encode", {"x": [PIXELS] * 33}),
        ("encode", {"x": [encoded(bomb())]}),
        ("encode", {"x": [encoded(picture((2000, 2000)))]}),
    ],
)
def test_too_much(plain: Any, operation: str, body: Any) -> None:
    check(plain.post(f"/v1/{operation}", body), 413, words="at most")
    assert plain.works()


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (bomb(), "image/png", 413),
        (bomb(2**31 - 1, 2**31 - 1), "image/png", 413),
        (bomb(1, 2**31 - 1), "image/png", 413),
        (picture()[:40], "image/png", 400),
        (picture()[:-30], "image/png", 400),
        (b"", "image/png", 415),
        (b"<svg onload=alert(1)>", "image/svg+xml", 415),
        (b"<svg onload=alert(1)>", "image/png", 415),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/png", 415),
        (picture(kind="TIFF"), "image/tiff", 415),
        (picture(kind="TIFF"), "image/png", 415),
        (b"z=1", "application/x-www-form-urlencoded", 415),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", 415),
        (b'{"x": []}', "text/plain", 415),
    ],
)
def test_wrong_files(plain: Any, data: bytes, kind: str, status: int) -> None:
    check(plain.client.post("/v1/encode", content=data, headers={"content-type": kind}), status)
    assert plain.works()


@pytest.mark.parametrize("label", ["bird", "2", "-1", "../cat", "٣", "1e0", "cat\x00", "9" * 5000])
def test_unknown_labels(locked: Any, label: str) -> None:
    check(locked.post("/v1/decode", {"z": Z, "labels": label}), 422, words="knows cat, dog")
    raw = {"content": picture(), "headers": {"content-type": "image/png"}}
    check(locked.client.post("/v1/reconstruct", params={"label": label}, **raw), 422, words="knows cat, dog")
    assert locked.works()


@pytest.mark.parametrize("labels", [True, 1.0, None, [], ["cat", "dog"], [["cat"]], {"cat": 1}, -1, 10**40])
def test_labels_that_do_not_fit(locked: Any, labels: Any) -> None:
    check(locked.post("/v1/decode", {"z": Z, "labels": labels}), 422, words="label")
    assert locked.works()


SECRETS = ("card.json", "encoder.onnx", "../card.json", "..%2fcard.json", "%2e%2e/card.json", "....//card.json")
PLACES = ("/", "/docs/", "/v1/", "/docs/..%2f", "//", "/docs/%00", "/docs/..%5c", "/docs/../../../")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", [*SECRETS, "etc/passwd", "%2fetc%2fpasswd", "app.py", "..%2fapp.py", "../app.py"])
def test_no_path_reaches_a_file(plain: Any, place: str, name: str) -> None:
    status, body = raw(plain, f"GET {place}{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert status in (400, 404, 405), body
    assert b"sha256" not in body
    assert b"import" not in body
    assert b"root:" not in body


@pytest.mark.parametrize("query", ["path=../card.json", "file=/etc/passwd", "label=x&model=../../x"])
def test_parameters_that_no_one_knows(plain: Any, query: str) -> None:
    check(plain.client.post(f"/v1/decode?{query}", json={"z": Z}), 422)
    assert plain.works()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_methods(plain: Any, method: str) -> None:
    answer = plain.client.request(method, "/v1/decode")
    check(answer, 405, words="use POST")
    check(plain.client.post("/v1/card"), 405, words="use GET")
    check(plain.client.post("/docs/docs.js"), 405)
    assert plain.works()


def test_bodies_beyond_the_limit_with_and_without_a_declared_length(plain: Any) -> None:
    much = b" " * (3 << 20)
    headers = {"content-type": "application/json"}
    check(plain.client.post("/v1/encode", content=much, headers=headers), 413, words="1,048,576 bytes")
    pieces = (much[i : i + 65536] for i in range(0, len(much), 65536))
    check(plain.client.post("/v1/encode", content=pieces, headers=headers), 413, words="1,048,576 bytes")
    start = b"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n"
    assert raw(plain, start)[0] == 413
    assert plain.works()


@pytest.mark.parametrize("token", ["", "wrong-token-of-the-tests", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 20])
def test_without_the_token(locked: Any, token: str) -> None:
    given = {"authorization": f"Bearer {token}".encode()} if token else {}
    with httpx.Client(base_url=locked.client.base_url, trust_env=False, headers=given) as stranger:
        for path in ("/v1/card", "/metrics", "/openapi.json", "/docs/", "/", "/nowhere"):
            answer = stranger.get(path)
            check(answer, 401, words="token")
            assert answer.headers["www-authenticate"] == "Bearer"
        check(stranger.post("/v1/decode", json={"z": Z}), 401)
        check(stranger.get("/v1/card", params={"token": token}), 401)
        assert stranger.get("/healthz").status_code == 200
    assert locked.works()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "8.8.8.8", "a b", "", "localhost:x", "[::"])
def test_names_of_other_servers(plain: Any, host: str) -> None:
    status, body = raw(plain, f"GET /v1/card HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert status == 400
    assert b"error" in body
    assert plain.works()


def test_pages_of_other_sites(plain: Any) -> None:
    own = {"origin": str(plain.client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert plain.post("/v1/decode", {"z": Z}, headers=own).status_code == 200
    for foreign in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        check(plain.post("/v1/decode", {"z": Z}, headers=foreign), 403, words="another site")
    assert plain.works()


CARD, POST = b"GET /v1/card HTTP/1.1\r\n", b"POST /v1/decode HTTP/1.1\r\nHost: localhost\r\n"
NOT_HTTP = {
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\xff\xff\r\n\r\n",
    "no version": b"GET /v1/card\r\n\r\n",
    "no host": CARD + b"\r\n",
    "two hosts": CARD + b"Host: localhost\r\nHost: evil.example\r\n\r\n",
    "a long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "many headers": CARD + b"Host: localhost\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    "negative length": POST + b"Content-Length: -5\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "chunks of garbage": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    "unknown coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "smuggled": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_not_http(plain: Any, name: str) -> None:
    status, body = raw(plain, NOT_HTTP[name])
    assert 400 <= status < 500 or status == 501, body
    assert list(json.loads(body.split(b"\r\n\r\n", 1)[1])) == ["error"]
    assert plain.works()


def test_headers_that_never_end(plain: Any) -> None:
    with connection(plain) as slow:
        slow.sendall(b"GET /v1/card HTTP/1.1\r\nHost: localhost\r\n")
        stop = threading.Event()
        feeder = threading.Thread(target=drip, args=(slow, b"a", stop))
        feeder.start()
        body = read(slow)
        stop.set()
        feeder.join()
    assert b"408" in body.split(b"\r\n")[0]
    assert plain.works()


def test_a_second_request_whose_headers_never_end(plain: Any) -> None:
    with connection(plain) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/ca")
        answers = read(slow)
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answers
    assert plain.works()


def test_a_body_that_never_ends(plain: Any) -> None:
    head = b"POST /v1/decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for start in (head + b"Content-Length: 5000\r\n\r\n{", head + b"Transfer-Encoding: chunked\r\n\r\n"):
        status, body = raw(plain, start)
        assert status == 408
        assert b"did not come whole" in body
    assert plain.works()


def test_clients_that_go_away(plain: Any) -> None:
    for start in (b"", b"POST /v1/dec", b"POST /v1/decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"):
        for _ in range(5):
            with connection(plain) as gone:
                gone.sendall(start)
    assert plain.works()
    measures = plain.client.get("/metrics").text
    assert "latentscape_in_flight 1\n" in measures


def test_too_many_at_once_are_told_to_come_again(make_served: Callable[..., Any]) -> None:
    with make_served(limits={"concurrency": 2}) as server:
        gate, entered = threading.Event(), threading.Semaphore(0)
        decode = server.exported.operations["decode"]

        def slow(given: Any) -> Any:
            entered.release()
            gate.wait(20)
            return decode(given)

        server.exported.operations["decode"] = slow
        threads = [threading.Thread(target=server.works) for _ in range(2)]
        threads[0].start()
        assert entered.acquire(timeout=20)
        threads[1].start()
        wait_for(lambda: "latentscape_queue_examples 1" in server.client.get("/metrics").text or 503)
        answer = busy(server)
        assert server.client.get("/healthz").status_code == 200
        gate.set()
        for thread in threads:
            thread.join()
        check(answer, 503, words="busy")
        assert answer.headers["retry-after"] == "1"
        assert server.works()


def busy(server: Any) -> httpx.Response:
    """The answer to a request when both places are taken: the second may not have arrived yet."""
    found: list[httpx.Response] = []
    wait_for(lambda: found.append(server.client.get("/v1/card")) or found[-1].status_code == 503)
    return found[-1]


def test_connections_beyond_the_limit_are_closed(make_served: Callable[..., Any]) -> None:
    with make_served(limits={"connections": 3, "header_seconds": 20.0}) as server:
        held = [socket.create_connection(("127.0.0.1", server.binding.port)) for _ in range(3)]
        time.sleep(0.2)
        with connection(server) as surplus:
            surplus.settimeout(5)
            assert read(surplus) == b""
        for one in held:
            one.close()
        wait_for(lambda: alive(server))


def alive(server: Any) -> bool:
    try:
        return server.works()
    except httpx.TransportError:
        return False


def wait_for(happened: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def drip(slow: socket.socket, byte: bytes, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        try:
            slow.sendall(byte)
        except OSError:
            return


def connection(server: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.binding.port), timeout=20)


def read(one: socket.socket) -> bytes:
    parts = []
    while True:
        try:
            part = one.recv(65536)
        except ConnectionError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def raw(server: Any, request: bytes) -> tuple[int, bytes]:
    """The status of the answer to these bytes, and all of it."""
    with connection(server) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(request)
        answer = read_one(one)
    return int(answer.split(b" ", 2)[1]), answer


def read_one(one: socket.socket) -> bytes:
    """One whole response, or what came before the end."""
    answer = b""
    while True:
        head, found, body = answer.partition(b"\r\n\r\n")
        lengths = [int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")]
        if found and lengths and len(body) >= lengths[0]:
            return answer
        try:
            part = one.recv(65536)
        except ConnectionError:
            return answer
        if not part:
            return answer
        answer += part
