"""The network that `--allow-network` opens, from inside the sandbox: what is reached, and what is not."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sandbox import Completed, Connection, Sandbox, SandboxError, Workspace, WrongOption
from sandbox.network import PORT, SOCKET_INSIDE

from .conftest import SECRET, Opener
from .proxying import Origin

FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=20).read().decode())"
SPEAK = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as s:
    s.sendall(sys.stdin.buffer.read())
    s.shutdown(socket.SHUT_WR)
    sys.stdout.write(s.makefile("rb").read().decode("latin-1"))
"""


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What names lead to, for the agent's process: the address that a resolver would give for them."""
    known: dict[str, str] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *rest, **named):
        return real(known.get(host, host), port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
async def online(direct: None, web: Origin, names: dict[str, str], open_sandbox: Opener) -> Sandbox:
    """May reach `site.example`, which is the web server of the test, and that one by its address."""
    names["site.example"] = "127.0.0.1"
    return await open_sandbox(network=(f"site.example:{web.port}", f"127.0.0.1:{web.port}"))


async def python(box: Sandbox | Workspace, program: str, *argv: str, stdin: bytes | None = None) -> Completed:
    workspace = box.workspace if isinstance(box, Sandbox) else box
    command = [os.path.realpath(sys.executable), "-c", program, *argv]
    return await workspace.run(command, seconds=60, stdin=stdin)


async def speak(box: Sandbox, data: bytes) -> str:
    """What the proxy answers to bytes that a program inside writes."""
    return (await python(box, SPEAK, str(PORT), stdin=data)).output


async def test_a_named_host_is_reached(online: Sandbox, web: Origin) -> None:
    told: list[Connection] = []
    online.on_connection(told.append)
    done = await python(online, FETCH, f"http://site.example:{web.port}/x?y=z")
    assert done.exit_code == 0 and "GET /x?y=z" in done.output
    await online.disconnect()
    (one,) = told
    assert (one.target, one.address, one.allowed) == (f"site.example:{web.port}", "127.0.0.1", True)
    described = online.describe()
    assert described["network"] == [f"site.example:{web.port}", f"127.0.0.1:{web.port}"]
    assert any(f"only site.example:{web.port}, 127.0.0.1" in line for line in described["enforced"])
    assert not any("no network" in line for line in described["enforced"])


async def test_other_hosts_are_denied_and_the_flag_is_named(online: Sandbox, web: Origin) -> None:
    done = await python(online, FETCH, "http://evil.example/")
    assert done.exit_code and "403" in done.output
    told = online.explain(done)
    assert told and "evil.example:80" in told and "--allow-network evil.example:80 would" in told
    done = await python(online, FETCH, "https://evil.example/")
    told = online.explain(done)
    assert told and "--allow-network evil.example:443 would" in told
    # A program that says the same of a connection nobody refused is not believed.
    lie = "raise SystemExit('Denied, --allow-network other.example:443 would allow it')"
    assert online.explain(await python(online, lie)) is None
    assert not web.heard


async def test_curl_is_explained_too(online: Sandbox) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    told = online.explain(await online.workspace.run(["curl", "-sS", "https://evil.example/"]))
    assert told and "--allow-network evil.example:443 would" in told


@pytest.mark.parametrize(
    "address", ["127.0.0.2", "169.254.169.254", "10.0.0.1", "[::1]", "[::ffff:127.0.0.2]"]
)
async def test_no_address_is_reached_through_the_proxy_unless_named(
    online: Sandbox, web: Origin, address: str
) -> None:
    for data in (
        f"GET http://{address}:{web.port}/ HTTP/1.1\r\nHost: site.example\r\n\r\n",
        f"CONNECT {address}:{web.port} HTTP/1.1\r\nHost: site.example\r\n\r\n",
    ):
        assert "HTTP/1.1 403 " in await speak(online, data.encode())
    assert not web.heard


@pytest.mark.parametrize("address", ["127.0.0.2", "169.254.169.254", "192.168.0.1", "::1"])
async def test_a_name_that_leads_inwards_is_denied(
    online: Sandbox, names: dict[str, str], web: Origin, address: str
) -> None:
    names["site.example"] = address
    done = await python(online, FETCH, f"http://site.example:{web.port}/")
    assert done.exit_code and not web.heard
    told = online.explain(done)
    assert told and f"leads to {address}" in told


async def test_a_redirect_to_another_host_is_denied(
    online: Sandbox, web: Origin, open_sandbox: Opener
) -> None:
    web.elsewhere = f"http://localhost:{web.port}/stolen"
    await python(await open_sandbox(unsafe=True), FETCH, f"http://127.0.0.1:{web.port}/away")
    assert [path for _, path, _, _ in web.heard] == ["/away", "/stolen"]
    web.heard.clear()
    web.elsewhere = "http://evil.example/stolen"
    done = await python(online, FETCH, f"http://site.example:{web.port}/away")
    assert done.exit_code and "403" in done.output
    assert [path for _, path, _, _ in web.heard] == ["/away"]


PAST_THE_PROXY = """
import socket, sys
for address in ("127.0.0.1", sys.argv[3]):
    for kind, port in ((socket.SOCK_STREAM, sys.argv[1]), (socket.SOCK_DGRAM, sys.argv[2])):
        try:
            with socket.socket(socket.AF_INET, kind) as s:
                s.settimeout(5)
                s.connect((address, int(port)))
                s.send(b"past the proxy")
        except OSError as problem:
            print(problem)
"""


@pytest.mark.parametrize("kind", ["bare", "sandboxed"])
async def test_nothing_goes_past_the_proxy(
    direct: None, web: Origin, open_sandbox: Opener, kind: str
) -> None:
    bare = kind == "bare"
    box = await open_sandbox(**({"unsafe": True} if bare else {"network": (f"127.0.0.1:{web.port}",)}))
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for listener in (tcp, udp):
            listener.bind(("0.0.0.0", 0))
            listener.settimeout(0.3)
        tcp.listen()
        ports = [str(s.getsockname()[1]) for s in (tcp, udp)]
        await python(box, PAST_THE_PROXY, *ports, _address_of_this_machine())
        came = 0
        for receive in (lambda: tcp.accept()[0].close(), lambda: udp.recv(100)):
            try:
                receive()
                came += 1
            except TimeoutError:
                pass
    assert came == (2 if bare else 0)


def _address_of_this_machine() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


async def test_names_are_not_resolved_inside(online: Sandbox) -> None:
    done = await python(online, "import socket; socket.getaddrinfo('site.example', 80)")
    assert done.exit_code
    told = online.explain(done)
    assert told and "HTTPS_PROXY" in told and "--unsafe" not in told


async def test_a_hostile_program_does_not_harm_the_proxy(online: Sandbox, web: Origin) -> None:
    url = f"http://site.example:{web.port}".encode()
    unclear, too_long = "HTTP/1.1 400 ", "HTTP/1.1 431 "
    post = b"POST " + url + b"/ HTTP/1.1\r\nHost: x\r\n"
    for data, answer in (
        (b"\0" * 1000 + b"\r\n\r\n", unclear),
        (os.urandom(5000).replace(b"\r", b"") + b"\r\n\r\n", unclear),
        (post + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", unclear),
        (b"GET " + url + b"/ HTTP/1.1\r\nHost: x\0y\r\n\r\n", unclear),
        (b"CONNECT site.example\0.evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", unclear),
        (b"GET " + url + b"/ HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 1_000_000 + b"\r\n\r\n", too_long),
    ):
        assert (await speak(online, data)).startswith(answer), data[:80]
    assert not web.heard
    flood = """
import socket, sys
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) for _ in range(600)]
"""
    await python(online, flood, str(PORT))
    done = await python(online, FETCH, f"http://site.example:{web.port}/still-there")
    assert "/still-there" in done.output


async def test_each_workspace_and_each_command_has_the_way(
    online: Sandbox, web: Origin, tmp_path: Path
) -> None:
    url = f"http://site.example:{web.port}/"
    fork = await online.workspace.fork()
    assert (await python(fork, FETCH, url)).exit_code == 0
    await fork.discard()
    # A command that kills all it can leaves the next one the way.
    await online.workspace.run(["sh", "-c", "kill -9 -1"])
    assert (await python(online, FETCH, url)).exit_code == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_port_of_this_machine_is_there_under_its_own_number(
    direct: None, web: Origin, open_sandbox: Opener, host: str
) -> None:
    box = await open_sandbox(network=(f"{host}:{web.port}",))
    for name in ("127.0.0.1", "localhost"):
        done = await python(box, FETCH, f"http://{name}:{web.port}/page")
        assert "GET /page" in done.output


async def test_a_port_of_this_machine_that_is_not_named_is_explained(
    web: Origin, open_sandbox: Opener
) -> None:
    box = await open_sandbox()
    program = "import sys, urllib.request as r\ntry: r.urlopen(sys.argv[1])\n"
    program += "except OSError as problem: sys.exit(f'{sys.argv[1]}: {problem}')"
    told = box.explain(await python(box, program, f"http://localhost:{web.port}/"))
    assert told and f"--allow-network 127.0.0.1:{web.port} would" in told
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://localhost:{free.getsockname()[1]}/"
        assert box.explain(await python(box, program, url)) is None


async def test_a_taken_port_is_said(direct: None, open_sandbox: Opener) -> None:
    with pytest.raises(SandboxError, match=f"port {PORT}: Address already in use"):
        await open_sandbox(network=(f"127.0.0.1:{PORT}",))


async def test_without_hosts_there_is_no_way(open_sandbox: Opener) -> None:
    box = await open_sandbox(network=())
    done = await box.workspace.run(["sh", "-c", f"env; ls {SOCKET_INSIDE}"])
    assert "_PROXY" not in done.output.upper() and "No such file" in done.output
    assert "network" not in box.describe()


@pytest.mark.parametrize(("hosts", "unsafe"), [(("http://x",), False), (("",), False), (("pypi.org",), True)])
async def test_what_cannot_be_allowed(open_sandbox: Opener, hosts: tuple[str, ...], unsafe: bool) -> None:
    with pytest.raises(WrongOption):
        await open_sandbox(network=hosts, unsafe=unsafe)


async def test_no_secret_of_the_caller_is_inside(
    direct: None, monkeypatch: pytest.MonkeyPatch, home: Path, open_sandbox: Opener
) -> None:
    for name in ("HTTPS_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://me:{SECRET}@127.0.0.1:9")
    monkeypatch.setenv("PIP_INDEX_URL", f"https://me:{SECRET}@index.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://open.example/simple")
    monkeypatch.setenv("UV_INDEX_URL", f"https://index.example/simple?token={SECRET}")
    public, private = home / "ca.pem", home / "both.pem"
    public.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    private.write_text(public.read_text() + f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(private))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(home / ".ssh" / "id_rsa"))
    script = 'env; cat "$SSL_CERT_FILE"; cat "$1"/*.pem "$1"/.ssh/*; cat /proc/1/environ'
    bare = await (await open_sandbox(unsafe=True)).workspace.run(["sh", "-c", script, "sh", str(home)])
    shown = {line.partition("=")[0] for line in bare.output.splitlines() if SECRET in line}
    assert {"HTTPS_PROXY", "PIP_INDEX_URL", "UV_INDEX_URL", SECRET} <= shown
    box = await open_sandbox(network=("pypi.org",))
    done = await box.workspace.run(["sh", "-c", script, "sh", str(home)])
    assert SECRET not in done.output
    assert "BEGIN CERTIFICATE" in done.output and "https://open.example/simple" in done.output
    assert "REQUESTS_CA_BUNDLE" not in done.output and "CURL_CA_BUNDLE" not in done.output
    assert any("addresses are not checked" in line for line in box.describe()["not_enforced"])
    assert SECRET not in repr(box.describe())


async def test_tls_goes_through_to_a_host_that_the_callers_certificates_know(
    direct: None, monkeypatch: pytest.MonkeyPatch, home: Path, names: dict[str, str], open_sandbox: Opener
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    authority, key = home / "ca.pem", home / "key.pem"
    make = asyncio.to_thread(
        subprocess.run,
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=site.example", "-addext", "subjectAltName=DNS:site.example",
         "-keyout", str(key), "-out", str(authority)],
        check=True, capture_output=True,
    )  # fmt: skip
    await make
    names["site.example"] = "127.0.0.1"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nover TLS")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        box = await open_sandbox(network=(f"site.example:{port}", f"127.0.0.1:{port}"))
        done = await python(box, FETCH, f"https://site.example:{port}/")
        assert "over TLS" in done.output
        thread.join(10)


@pytest.fixture
def rust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own toolchain, whose place rustup looks for below HOME."""
    place = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".rustup"
    if "RUSTUP_HOME" not in os.environ and place.is_dir():
        monkeypatch.setenv("RUSTUP_HOME", str(place))


def _need(host: str) -> None:
    """Skips where this machine itself cannot reach a host, directly or through a proxy of its own."""
    try:
        urllib.request.urlopen(f"https://{host}/", timeout=10).close()
    except urllib.error.HTTPError:
        pass
    except OSError as problem:
        pytest.skip(f"{host} cannot be reached from here: {problem}")


async def test_pip_installs_a_package(monkeypatch: pytest.MonkeyPatch, open_sandbox: Opener) -> None:
    _need("pypi.org")
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.org/simple")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    box = await open_sandbox(network=("pypi.org", "files.pythonhosted.org"))
    told: list[Connection] = []
    box.on_connection(told.append)
    script = (
        'set -e; PIP_CONFIG_FILE=/dev/null; export PIP_CONFIG_FILE; "$1" -m venv build/venv; '
        "build/venv/bin/python -m pip install -q --retries 0 iniconfig; "
        "build/venv/bin/python -c 'import iniconfig; print(iniconfig.__name__, 1 + 1)'"
    )
    done = await box.workspace.run(["sh", "-c", script, "sh", os.path.realpath(sys.executable)], seconds=120)
    assert "iniconfig 2" in done.output
    await box.disconnect()
    assert "pypi.org" in {one.host for one in told}  # a mirror may give the files under this name too
    assert all(one.allowed for one in told)
    assert sum(one.bytes_down for one in told) > 1000


async def test_pip_says_what_it_was_denied(monkeypatch: pytest.MonkeyPatch, open_sandbox: Opener) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    box = await open_sandbox(network=("pypi.org",))
    script = 'PIP_CONFIG_FILE=/dev/null "$1" -m pip download --retries 1 -d build no-such-package'
    done = await box.workspace.run(["sh", "-c", script, "sh", "python3"], seconds=120)
    told = box.explain(done)
    assert told and "--allow-network index.example:443 would" in told, done.output


@pytest.mark.parametrize(
    ("program", "host", "script"),
    [
        ("npm", "registry.npmjs.org", "npm install --no-save left-pad@1.3.0 && ls node_modules/left-pad"),
        ("cargo", "index.crates.io", "cargo init -q --name a . && cargo add -q itoa && cargo fetch"),
        ("git", "github.com", "git ls-remote https://github.com/git/git HEAD"),
    ],
)
async def test_other_package_managers(
    rust: None, open_sandbox: Opener, program: str, host: str, script: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    _need(host)
    hosts = (host, "static.crates.io")
    box = await open_sandbox(network=hosts)
    done = await box.workspace.run(["sh", "-ec", f"mkdir -p build/x; cd build/x; {script}"], seconds=120)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("program", "script"),
    [
        ("npm", "npm view left-pad --fetch-retries=0"),
        ("cargo", "cargo init -q --name a . && CARGO_NET_RETRY=0 cargo add -q itoa"),
        ("git", "git ls-remote https://evil.example/x.git"),
        ("wget", "wget -t1 -O- https://evil.example/"),
    ],
)
async def test_what_they_say_when_denied_is_understood(
    rust: None, open_sandbox: Opener, program: str, script: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    box = await open_sandbox(network=("pypi.org",))
    done = await box.workspace.run(["sh", "-ec", f"mkdir -p build/x; cd build/x; {script}"], seconds=120)
    told = box.explain(done)
    assert told and "The command was denied a connection to " in told, done.output
