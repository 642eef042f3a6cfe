"""The proxy: who is let through, where to, and what a hostile program may write to it."""

from __future__ import annotations

import asyncio
import base64
import socket
import stat
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import proxy as proxy_module
from sandbox import proxy_request, relaying
from sandbox.allowed import Allowed
from sandbox.errors import SandboxError

from .proxying import Origin, Proxied

pytestmark = pytest.mark.usefixtures("direct")


@pytest.fixture
async def through(tmp_path: Path, web: Origin) -> AsyncIterator[Proxied]:
    async with Proxied(tmp_path, f"127.0.0.1:{web.port}") as proxied:
        yield proxied


def get(url: str, *more: str) -> bytes:
    return "\r\n".join([f"GET {url} HTTP/1.1", "Host: elsewhere.example", *more, "", ""]).encode()


def connect(target: str) -> bytes:
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[object]:
    """A resolver that gives its answers in turn, and the list of the names it was asked for."""
    asked: list[object] = []

    def getaddrinfo(host: object, port: int, *_rest: object, **_named: object) -> list[object]:
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


async def test_only_its_owner_reaches_the_socket(through: Proxied) -> None:
    assert stat.S_IMODE(through.socket.stat().st_mode) == 0o600


async def test_a_long_path_is_no_hindrance(tmp_path: Path, web: Origin) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    async with Proxied(folder, f"127.0.0.1:{web.port}") as proxied:
        assert stat.S_ISSOCK(proxied.socket.stat().st_mode)


async def test_a_plain_request_goes_through_written_anew(through: Proxied, web: Origin) -> None:
    more = ("Connection: X-Hop", "X-Hop: 1", "Proxy-Authorization: Basic c2VjcmV0", "X-Kept: 2")
    answer = await through.say(get(f"http://127.0.0.1:{web.port}/a?b=c", *more))
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"GET /a?b=c 0")
    assert b"Connection: close" in answer
    ((method, path, headers, _),) = web.heard
    assert (method, path, headers["host"]) == ("GET", "/a?b=c", f"127.0.0.1:{web.port}")
    assert headers["x-kept"] == "2" and headers["connection"] == "close"
    assert not {"x-hop", "proxy-authorization"} & set(headers)
    (told,) = await through.log()
    assert (told.host, told.port, told.address, told.allowed) == ("127.0.0.1", web.port, "127.0.0.1", True)
    assert told.bytes_up and told.bytes_down and told.seconds >= 0


@pytest.mark.parametrize("path", ["/", "/chunked"])
async def test_bodies_go_through_whole(through: Proxied, web: Origin, path: str) -> None:
    url = f"http://127.0.0.1:{web.port}{path}"
    sized = f"POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode() + b"y" * 100_000
    chunked = f"POST {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunked += b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"
    assert f"POST {path} 100000".encode() in await through.say(sized)
    assert f"POST {path} 11".encode() in await through.say(chunked)
    assert web.heard[-1][3] == b"hello world"
    head = await through.say(f"HEAD {url} HTTP/1.0\r\n\r\n".encode())
    assert head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n")


async def test_a_tunnel_relays_both_ways_and_half_an_end(tmp_path: Path) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()  # to the end: the answer comes after it
        writer.write(b"%d bytes" % len(data))
        writer.close()

    server = await asyncio.start_server(late, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Proxied(tmp_path, f"127.0.0.1:{port}") as proxied:
        answer = await proxied.say(connect(f"127.0.0.1:{port}") + b"z" * 300_000, end=True)
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n300000 bytes")
        (told,) = await proxied.log()
        assert (told.bytes_up, told.bytes_down) == (300_000, len(b"300000 bytes"))


@pytest.mark.parametrize("form", ["connect", "plain"])
async def test_what_is_not_on_the_list_is_denied(through: Proxied, form: str) -> None:
    asked = connect("evil.example:443") if form == "connect" else get("http://evil.example:443/")
    answer = await through.say(asked)
    assert answer.startswith(b"HTTP/1.1 403 Denied, --allow-network evil.example:443 would allow it\r\n")
    assert answer.endswith(
        b"evil.example:443 is not on the list of --allow-network; "
        b"--allow-network evil.example:443 would allow it.\n"
    )
    (told,) = await through.log()
    assert (told.host, told.port, told.address, told.allowed) == ("evil.example", 443, None, False)


async def test_an_empty_list_lets_nothing_through(tmp_path: Path, web: Origin) -> None:
    async with Proxied(tmp_path) as proxied:
        for data in (connect(f"127.0.0.1:{web.port}"), get(f"http://127.0.0.1:{web.port}/")):
            assert (await proxied.say(data)).startswith(b"HTTP/1.1 403 ")
        assert {told.why for told in await proxied.log(2)} == {"not on the list"}
    assert not web.heard


INWARDS = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00:ec2::254", "0.0.0.0"]


@pytest.mark.parametrize("address", INWARDS)
async def test_a_name_leads_inwards_where_its_address_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Nothing is sent: most of these are no addresses of this machine."""
    went: list[object] = []

    async def open_connection(host: str, port: int, **_options: object) -> None:
        went.append(ip_address(host))
        raise ConnectionRefusedError

    monkeypatch.setattr(Allowed, "closed", lambda *_: None)
    async with Proxied(tmp_path, "allowed.example:80") as proxied:
        resolve_to(monkeypatch, [address])
        monkeypatch.setattr(asyncio, "open_connection", open_connection)
        assert (await proxied.say(get("http://allowed.example:80/"))).startswith(b"HTTP/1.1 502 ")
    assert went == [ip_address(address)]


@pytest.mark.parametrize("address", INWARDS)
async def test_a_name_that_leads_inwards_is_denied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Origin, address: str
) -> None:
    async with Proxied(tmp_path, f"allowed.example:{web.port}") as proxied:
        resolve_to(monkeypatch, [address])
        for data in (connect(f"allowed.example:{web.port}"), get(f"http://allowed.example:{web.port}/")):
            answer = await proxied.say(data)
            assert answer.startswith(b"HTTP/1.1 403 ") and b"because it leads to" in answer
        assert not web.heard
        assert not any(told.allowed for told in await proxied.log(2))


async def test_what_was_checked_is_what_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Origin
) -> None:
    """A name that leads elsewhere at a second question is asked for once."""
    async with Proxied(tmp_path, f"rebound.example:{web.port}", f"127.0.0.2:{web.port}") as proxied:
        asked = resolve_to(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])
        answer = await proxied.say(get(f"http://rebound.example:{web.port}/"))
        # 127.0.0.2 is allowed by an entry of its own, but nobody listens there; the web server is at .1.
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert asked == ["rebound.example"] and not web.heard


async def test_of_several_addresses_the_closed_ones_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Origin
) -> None:
    async with Proxied(tmp_path, f"two.example:{web.port}", f"127.0.0.2:{web.port}") as proxied:
        resolve_to(monkeypatch, ["127.0.0.1", "127.0.0.2"])
        assert (await proxied.say(get(f"http://two.example:{web.port}/"))).startswith(b"HTTP/1.1 502 ")
        assert not web.heard


async def test_an_entry_for_the_address_opens_a_name_that_leads_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Origin
) -> None:
    async with Proxied(tmp_path, f"intranet.example:{web.port}", f"127.0.0.1:{web.port}") as proxied:
        resolve_to(monkeypatch, ["127.0.0.1"])
        assert b" 200 " in await proxied.say(get(f"http://intranet.example:{web.port}/"))


@pytest.mark.parametrize(
    "name",
    [
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "user@127.0.0.1",
        "127.0.0.1%00.example",
        "[::ffff:7f00:1%1]",
    ],
)
async def test_other_spellings_of_an_address_are_no_host(through: Proxied, web: Origin, name: str) -> None:
    for data in (connect(f"{name}:{web.port}"), get(f"http://{name}:{web.port}/")):
        assert (await through.say(data)).startswith(b"HTTP/1.1 400 ")
    assert not web.heard


@pytest.mark.parametrize("name", ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1."])
async def test_the_same_address_written_otherwise_is_the_same(
    through: Proxied, web: Origin, name: str
) -> None:
    assert b" 200 " in await through.say(get(f"http://{name}:{web.port}/"))


UNCLEAR = {
    "both lengths": "POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
    "Transfer-Encoding: chunked\r\n\r\n",
    "two lengths": "POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "unknown coding": "POST {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "folded": "GET {url} HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "bare lf": "GET {url} HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare cr": "GET {url} HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    "nul": "GET {url} HTTP/1.1\r\nHost: x\0\r\n\r\n",
    "nul in host": "CONNECT 127.0.0.1\0.evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "space before colon": "GET {url} HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    "no host": "GET {url} HTTP/1.1\r\n\r\n",
    "two hosts": "GET {url} HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "own path": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "star": "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "https url": "GET https://127.0.0.1:443/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "ftp url": "GET ftp://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "no authority": "GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect without port": "CONNECT pypi.org HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect with body": "CONNECT pypi.org:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    "http 2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "socks": "\5\1\0\r\n\r\n",
    "tls": "\x16\3\1\0\5\r\n\r\n",
}


@pytest.mark.parametrize("case", UNCLEAR)
async def test_what_two_readers_might_read_differently_is_refused(
    through: Proxied, web: Origin, case: str
) -> None:
    data = UNCLEAR[case].replace("{url}", f"http://127.0.0.1:{web.port}/").encode("latin-1")
    assert (await through.say(data)).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert not web.heard


async def test_a_second_request_on_a_connection_goes_nowhere(through: Proxied, web: Origin) -> None:
    url = f"http://127.0.0.1:{web.port}"
    answer = await through.say(get(f"{url}/first") + get("http://evil.example/") + get(f"{url}/second"))
    assert answer.count(b"HTTP/1.1 200") == 1 and len(web.heard) == 1


async def test_a_broken_body_reaches_nobody_as_a_request_of_its_own(through: Proxied, web: Origin) -> None:
    url = f"http://127.0.0.1:{web.port}/"
    head = f"POST {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = await through.say(head + b"xyz\r\nGET /smuggled HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [path for _, path, _, _ in web.heard if path == "/smuggled"] == []


async def test_a_huge_header_and_one_that_never_ends(
    through: Proxied, web: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{web.port}/"
    assert (await through.say(get(url, "A: " + "b" * 200_000))).startswith(b"HTTP/1.1 431 ")
    monkeypatch.setattr(proxy_request, "HEAD_WITHIN", 0.2)
    assert await through.say(b"GET http://127.0.0.1/ HTTP/1.1\r\n") == b""
    assert b" 200 " in await through.say(get(url))


async def test_an_idle_tunnel_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "IDLE", 0.2)
    server = await asyncio.start_server(lambda r, w: asyncio.sleep(30), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Proxied(tmp_path, f"127.0.0.1:{port}") as proxied:
        assert (await proxied.say(connect(f"127.0.0.1:{port}"))).startswith(b"HTTP/1.1 200 ")
        assert len(await proxied.log()) == 1
    server.close()


async def test_too_many_connections_are_turned_away(
    through: Proxied, web: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "MOST_CONNECTIONS", 3)
    waiting = [await asyncio.open_unix_connection(str(through.socket)) for _ in range(3)]
    url = f"http://127.0.0.1:{web.port}/"
    assert (await through.say(get(url))).startswith(b"HTTP/1.1 503 ")
    for _, writer in waiting:
        writer.close()
    for _ in range(100):
        answer = await through.say(get(url))
        if answer.startswith(b"HTTP/1.1 200 "):
            break
        await asyncio.sleep(0.05)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_an_open_connection_is_told_of_when_the_proxy_closes(through: Proxied, web: Origin) -> None:
    reader, writer = await asyncio.open_unix_connection(str(through.socket))
    writer.write(connect(f"127.0.0.1:{web.port}"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    await through.proxy.close()
    assert len(through.told) == 1 and await reader.read() == b""
    writer.close()


async def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with Proxied(tmp_path, f"127.0.0.1:{port}") as proxied:
            answer = await proxied.say(connect(f"127.0.0.1:{port}"))
            assert answer.startswith(b"HTTP/1.1 502 ") and b"cannot be reached: Connection refused." in answer
            (told,) = await proxied.log()
            assert told.allowed and told.why == "not reached: Connection refused"


async def test_an_answer_that_is_no_http(tmp_path: Path) -> None:
    async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Proxied(tmp_path, f"127.0.0.1:{port}") as proxied:
        assert (await proxied.say(get(f"http://127.0.0.1:{port}/"))).startswith(b"HTTP/1.1 502 ")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300) | st.text("GETCONNECT htp:/127.0.1\r\n\0Host:x[]@%", max_size=200).map(str.encode)
)
def test_whatever_is_written_to_it_reaches_nobody(tmp_path: Path, data: bytes) -> None:
    async def attempt() -> None:
        folder = tmp_path / data.hex()[:16]
        folder.mkdir(exist_ok=True)
        (folder / "proxy.sock").unlink(missing_ok=True)
        async with Proxied(folder, "allowed.example") as proxied:
            answer = await proxied.say(data, end=True)
            assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
            assert not any(told.allowed for told in proxied.told)

    asyncio.run(attempt())


class CompanyProxy:
    """A proxy between the user and the world, as a company has one; it takes CONNECT and whole URLs."""

    def __init__(self, web: Origin) -> None:
        self.web = web
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        if self.heads[-1].startswith(b"CONNECT refused"):
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif self.heads[-1].startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst words of the target")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()


@pytest.mark.parametrize(
    "variables", [("HTTPS_PROXY", "HTTP_PROXY"), ("https_proxy", "http_proxy"), ("ALL_PROXY",)]
)
async def test_the_way_out_leads_through_the_callers_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Origin, variables: tuple[str, ...]
) -> None:
    company = CompanyProxy(web)
    server = await asyncio.start_server(company.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for name in variables:
        monkeypatch.setenv(name, f"http://me:s%40cret@127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "near.example")
    asked = resolve_to(monkeypatch, ["127.0.0.1"])
    allowed = ("far.example", "refused.example", f"127.0.0.1:{web.port}", f"near.example:{web.port}")
    async with server, Proxied(tmp_path, *allowed) as proxied:
        answer = await proxied.say(connect("far.example:443"))
        assert answer.endswith(b"\r\n\r\nfirst words of the target")
        assert (await proxied.say(get("http://far.example/x"))).endswith(b"hi")
        basic = b"Proxy-Authorization: Basic " + base64.b64encode(b"me:s@cret")
        assert company.heads[0].startswith(b"CONNECT far.example:443 HTTP/1.1\r\n")
        assert company.heads[1].startswith(b"GET http://far.example/x HTTP/1.1\r\n")
        assert all(basic in head for head in company.heads)
        assert asked == []  # the name is the other proxy's to resolve
        refused = await proxied.say(connect("refused.example:443"))
        assert refused.startswith(b"HTTP/1.1 502 ") and b"answered 407" in refused
        # This machine, and what the user excepts, is reached directly; what is not allowed not at all.
        assert b" 200 " in await proxied.say(get(f"http://127.0.0.1:{web.port}/"))
        assert b" 200 " in await proxied.say(get(f"http://near.example:{web.port}/"))
        assert (await proxied.say(connect("evil.example:443"))).startswith(b"HTTP/1.1 403 ")
        assert len(company.heads) == 3
        told = await proxied.log(6)
        assert told[0].address is None and "not checked" in told[0].why
        assert "cret" not in repr(told) and "cret" not in repr(proxied.proxy.outbound.proxies)


@pytest.mark.parametrize(
    "url", ["socks5://me:cret@127.0.0.1:1080", "http://", "http://me:cret@[::1", "http://x:y"]
)
def test_a_callers_proxy_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(SandboxError) as problem:
        Proxied(tmp_path, "pypi.org")
    assert "--allow-network" in str(problem.value) and "cret" not in str(problem.value)
