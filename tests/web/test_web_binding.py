"""Where a server may listen, and the names that are it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from latentscape.errors import UserError
from latentscape.web import binding
from latentscape.web.binding import Binding, bind


@contextmanager
def bound(host: str = "127.0.0.1", port: int | None = 0, *args: Any, **named: Any) -> Iterator[Binding]:
    made = bind(host, port, *args, **named)
    with made.listener:
        yield made


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_this_machine_needs_no_token(host: str) -> None:
    with bound(host) as made:
        assert made.token == ""
        assert made.url("/x") == f"http://{made.host}:{made.port}/x"
        socket.create_connection((made.host, made.port)).close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1", "169.254.1.1", "10.0.0.1"])
def test_other_machines_need_a_token(host: str) -> None:
    with pytest.raises(UserError, match="needs a token: add --token auto"):
        bind(host, 0)


@pytest.mark.parametrize("host", ["example.org", "", "127.1", "127.0.0.1:80", "http://127.0.0.1", "256.0.0.1", "0"])
def test_what_is_no_address(host: str) -> None:
    with pytest.raises(UserError, match="IP address"):
        bind(host, 0, "auto")


def test_tokens_are_made_long_and_new() -> None:
    tokens = {binding.checked_token("auto") for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 32
    with bound("0.0.0.0", token="auto") as made:
        assert made.url("/").endswith(f"/?token={made.token}")
        assert made.url("/").startswith("http://127.0.0.1:")
        assert made.token not in repr(made)


@pytest.mark.parametrize("token", ["short", "a" * 15, "a" * 16 + " ", "a" * 16 + "é", "a" * 16 + "\n", "a&b" * 10])
def test_tokens_that_are_short_or_odd(token: str) -> None:
    with pytest.raises(UserError, match="at least 16"):
        bind("127.0.0.1", 0, token)


def test_a_taken_port_is_refused_if_chosen_and_passed_over_if_not() -> None:
    with bound() as first:
        with pytest.raises(UserError, match=f"port {first.port}"):
            bind("127.0.0.1", first.port)
        with bound(port=None, usual=first.port) as second:
            assert second.port != first.port


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_what_is_no_port(port: int) -> None:
    with pytest.raises(UserError, match="0 to 65535"):
        bind("127.0.0.1", port)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:80", "localhost"),
        ("localhost.", "localhost"),
        ("127.0.0.1:8765", "127.0.0.1"),
        ("[::1]:8765", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("a.example:1", "a.example"),
        ("", None),
        ("a b", None),
        ("localhost:x", None),
        ("localhost:80:80", None),
        ("[::1", None),
        ("user@localhost", None),
        ("localhost/x", None),
        ("a" * 300, None),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str | None) -> None:
    assert binding.host_name(header) == name


def test_names_that_are_this_server() -> None:
    with bound(names=("Proxy.Example",)) as made:
        for good in ("localhost", "127.0.0.1:99", "[::1]:1", "proxy.example"):
            assert made.knows(good)
        for other in ("evil.example", "127.0.0.1.nip.io", "8.8.8.8", "localhost.evil.example", "0x7f000001", ""):
            assert not made.knows(other)


def test_a_server_on_all_addresses_takes_addresses_but_no_strange_names() -> None:
    with bound("0.0.0.0", token="auto") as made:
        for good in ("192.0.2.7:80", "localhost", "[2001:db8::1]", socket.gethostname()):
            assert made.knows(good)
        assert not made.knows("evil.example")


def test_what_is_written_is_sent_at_once() -> None:
    """asyncio sets TCP_NODELAY only where the socket names its protocol; without it answers wait 40 ms."""
    bound = bind("127.0.0.1", 0)
    with bound.listener:
        assert bound.listener.proto == socket.IPPROTO_TCP
