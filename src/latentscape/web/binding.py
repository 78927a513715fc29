"""Where a server listens, who may ask, and under which names it is known."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass, field

from latentscape.errors import UserError

AUTO = "auto"
"""As a token: make one."""

NEARBY = 20
"""Without a port of the user's choice, so many above the usual one are tried before any free one is taken."""

SHORTEST_TOKEN = 16

_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Binding:
    """A listening socket with what the guard must know. `token` is "" where everyone who reaches the socket may ask."""

    host: str
    port: int
    token: str = field(repr=False)
    names: frozenset[str]
    any_address: bool
    listener: socket.socket = field(repr=False, compare=False)

    def url(self, path: str = "/") -> str:
        """What to type into a browser, with the token if there is one."""
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        shown = f"[{shown}]" if ":" in shown else shown
        return f"http://{shown}:{self.port}{path}" + (f"?token={self.token}" if self.token else "")

    def knows(self, host_header: str) -> bool:
        """Whether a Host header names this server.

        A page elsewhere whose name is made to point here (DNS rebinding) carries its own name. Addresses cannot be made
        to point elsewhere, so a server on all addresses (0.0.0.0, ::) takes every address.
        """
        name = host_name(host_header)
        if name is None:
            return False
        if name in self.names:
            return True
        return self.any_address and _address(name) is not None


def bind(host: str, port: int | None, token: str = "", usual: int = 8765, names: tuple[str, ...] = ()) -> Binding:
    """Listen on an address.

    Args:
        host: an IP address, or localhost.
        port: 1…65535; 0: any free one; None: `usual`, or one near it.
        token: at least 16 letters, digits and ._~-; "auto" makes one; "": none, which only loopback addresses allow.
        usual: the port where none is chosen.
        names: further names in the Host header that are this server, such as that of a proxy in front of it.

    Raises `UserError` for an address that cannot be bound, and for one beyond this machine without a token.
    """
    address = _bindable(host)
    if not address.is_loopback and not token:
        raise UserError(
            f"{host} can be reached from other machines, so it needs a token: add --token auto, which makes and prints "
            "one, or --token TEXT"
        )
    token = checked_token(token)
    listener = _listen(str(address), port, usual)
    known = {str(address)} | {n.lower().rstrip(".") for n in names}
    if address.is_loopback or address.is_unspecified:
        known |= _LOCAL_NAMES
    if address.is_unspecified:
        known |= {socket.gethostname().lower(), str(address)}
    chosen = listener.getsockname()[1]
    return Binding(str(address), chosen, token, frozenset(known), address.is_unspecified, listener)


def checked_token(token: str) -> str:
    """The token to use: "" stays, "auto" becomes 32 random characters; `UserError` for one that is short or odd."""
    if token == AUTO:
        return secrets.token_urlsafe(24)
    if token and (len(token) < SHORTEST_TOKEN or not _TOKEN.fullmatch(token)):
        raise UserError(
            f"a token must be at least {SHORTEST_TOKEN} letters, digits and the signs . _ ~ -, found {len(token)} "
            "characters; --token auto makes one"
        )
    return token


def host_name(header: str) -> str | None:
    """The name or address in a Host header without port and brackets, in small letters; None if it is not a host."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::\d{1,5})?", header)
    if match is None:
        return None
    name = (match[1] or match[2]).lower().rstrip(".")
    address = _address(name)
    return str(address) if address else name


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name)
    return None


def _bindable(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = _address("127.0.0.1" if host == "localhost" else host)
    if address is None:
        raise UserError(
            f"the address to listen on must be an IP address such as 127.0.0.1 (this machine only) or 0.0.0.0 (every "
            f"network of this machine), found {host!r}"
        )
    return address


def _listen(address: str, port: int | None, usual: int) -> socket.socket:
    if port is not None and not 0 <= port <= 65535:
        raise UserError(f"a port must be a number from 0 to 65535, found {port}; 0 takes any free one")
    ports = [port] if port is not None else [*range(usual, usual + NEARBY + 1), 0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    problem: OSError | None = None
    for candidate in ports:
        # With the protocol named, asyncio sends each write at once (TCP_NODELAY); else an answer whose head and body
        # are two writes waits 40 ms for the client's acknowledgement of the first.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, candidate))
            listener.listen(1024)
            return listener
        except OSError as error:
            listener.close()
            problem = error
    why = problem.strerror if problem else "no port is free"
    raise UserError(
        f"cannot listen on {address} port {ports[0]} ({why}); choose another --port, --port 0 for any free one, or "
        "another --host"
    )
