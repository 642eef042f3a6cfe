"""What a developer's tools do every day works inside: real programs, each as its users start it."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from sandbox import Sandbox

from .conftest import Opener, git

IDENTITY = "git -c user.name=T -c user.email=t@example.org"
PYTHON_FILES = {
    "test_xdist.py": "import pytest\n\n@pytest.mark.parametrize('n', range(8))\n"
    "def test_it(n, worker_id):\n    assert worker_id.startswith('gw')\n",
    "test_server.py": """
import http.server, threading, urllib.request, pytest
@pytest.fixture
def url():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
def test_it(url):
    assert urllib.request.urlopen(f"{url}/README.md", timeout=10).read() == b"read me\\n"
""",
    "spread.py": """
import concurrent.futures, multiprocessing, multiprocessing.shared_memory, sys
def square(n):
    return n * n
def add(name, lock):
    with lock:
        shared = multiprocessing.shared_memory.SharedMemory(name)
        shared.buf[0] += 1
        shared.close()
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(square, range(5))) == [0, 1, 4, 9, 16]
    shared = multiprocessing.shared_memory.SharedMemory(create=True, size=16)
    lock = context.Lock()
    workers = [context.Process(target=add, args=(shared.name, lock)) for _ in range(3)]
    [w.start() for w in workers]; [w.join() for w in workers]
    assert shared.buf[0] == 3
    shared.close(); shared.unlink()
    with context.Manager() as manager:
        assert manager.dict(a=1)["a"] == 1
    print("spread")
""",
    "kept.py": """
import asyncio, mmap, os, sqlite3, tempfile
with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile() as file:
    assert not folder.startswith(os.getcwd())
    with mmap.mmap(-1, 4096) as memory: memory[0] = 1
db = sqlite3.connect("kept.db")
assert db.execute("pragma journal_mode=wal").fetchone() == ("wal",)
with db: db.execute("create table t (n)"); db.execute("insert into t values (1)")
other = sqlite3.connect("kept.db")
assert other.execute("select n from t").fetchone() == (1,)
async def main():
    processes = [await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1) for _ in range(3)]
    for one in processes:
        assert (await one.communicate(b"x"))[0] == b"x"
asyncio.run(main())
print("kept")
""",
    "terminal.py": "import os, pty\nmaster, slave = pty.openpty()\nassert os.isatty(slave)\n"
    "print(pty.spawn(['sh', '-c', 'test -t 0 && tty']))\n",
}
FILES = PYTHON_FILES | {
    "Makefile": "all: a.out b.out\n%.out: main.c\n\tgcc -O1 -g -o $@ $<\n\t./$@\n",
    "main.c": '#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n',
    "package.json": '{"name": "p", "scripts": {"pretest": "node -e 0", "test": "node --test"}}',
    "it.test.js": "const test = require('node:test'), fs = require('fs'), os = require('os');\n"
    "const {Worker} = require('worker_threads'), cp = require('child_process'), http = require('http');\n"
    "test('server', (t, done) => { const s = http.createServer((_, r) => r.end('hi')).listen(0, () =>\n"
    "  http.get({port: s.address().port}, (r) => { r.resume(); s.close(done) })) });\n"
    "test('worker', () => new Promise((r) => new Worker('0', {eval: true}).on('exit', r)));\n"
    "test('child', () => { cp.execSync('true'); fs.mkdtempSync(os.tmpdir() + '/x') });\n",
    "Cargo.toml": '[package]\nname = "p"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/lib.rs": "/// ```\n/// assert_eq!(p::add(1, 2), 3);\n/// ```\n"
    "pub fn add(a: u8, b: u8) -> u8 { a + b }\n"
    "#[test]\nfn adds() { assert_eq!(add(1, 2), 3); }\n",
}
DAEMON = (
    "python3 -m http.server --bind 127.0.0.1 8765 > server.log 2>&1 & "
    "until curl -sf http://127.0.0.1:8765/README.md; do sleep .1; done"
)
# Name: the program it needs, the command, what the last line of its output ends with.
WORKS = {
    "pytest with xdist": ("", f"{sys.executable} -m pytest -q -n 2 test_xdist.py", "8 passed in"),
    "a server in a fixture": ("", f"{sys.executable} -m pytest -q test_server.py", "1 passed in"),
    "a server in the background": ("curl", DAEMON, "read me"),
    "processes by fork": ("", "python3 spread.py fork", "spread"),
    "processes by spawn": ("", "python3 spread.py spawn", "spread"),
    "processes by forkserver": ("", "python3 spread.py forkserver", "spread"),
    "temporary files, sqlite, asyncio": ("", "python3 kept.py", "kept"),
    "a terminal of one's own": ("", "python3 terminal.py", "0"),
    "script": ("script", "script -qec 'test -t 1 && echo a terminal' /dev/null", "a terminal"),
    "pipes with names": ("", "mkfifo p; (echo through > p &); cat p", "through"),
    "make and gcc": ("gcc", "make -j2", "compiled"),
    "timeout": ("timeout", "timeout 0.2 sleep 10; echo $?", "124"),
    "nohup": ("nohup", "nohup echo on < /dev/null", "on"),
    "signals to one's own": ("", "sleep 60 & kill $!; wait $!; echo $?", "143"),
    "npm and node": ("npm", "npm test", "# fail 0"),
    "cargo": ("cargo", "cargo test --offline 2>&1 && echo tested", "tested"),
    "a lot of output": ("", "seq 1 200000", "200000"),
    "the processes of the command": ("ps", "ps -e -o comm= | sort | uniq | tail -1", ""),
}  # fmt: skip


@pytest.fixture
async def project(repo: Path, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    for name, text in FILES.items():
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text(text)
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    # The tests have a home folder of their own, where no rustup is.
    toolchains = Path(os.path.realpath(shutil.which("cargo") or "/none")).parents[1].parent / ".rustup"
    if toolchains.is_dir():
        monkeypatch.setenv("RUSTUP_HOME", str(toolchains))
    return await open_sandbox()


async def sh(box: Sandbox, script: str, *, stdin: bytes | None = None) -> str:
    done = await box.workspace.run(["sh", "-c", script], seconds=120, stdin=stdin)
    assert done.exit_code == 0, f"{script}\n{done.output[-3000:]}"
    return done.output


@pytest.mark.parametrize("name", WORKS)
async def test_works(project: Sandbox, name: str) -> None:
    program, script, last = WORKS[name]
    if program and shutil.which(program) is None:
        pytest.skip(f"no {program} here")
    output = await sh(project, script)
    assert last in output.rstrip().splitlines()[-1] or last in output.splitlines(), output[-3000:]


async def test_a_virtual_environment_and_a_wheel(project: Sandbox, repo: Path) -> None:
    """Without a network, and without one of pip's own caches."""
    with zipfile.ZipFile(repo / "made-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("made.py", "def main(): print('installed')\n")
        wheel.writestr("made-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: made\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr("made-1.0.dist-info/WHEEL", tag)
        wheel.writestr("made-1.0.dist-info/entry_points.txt", "[console_scripts]\nmade = made:main\n")
        wheel.writestr("made-1.0.dist-info/RECORD", "")
    assert "installed" in await sh(
        project, "python3 -m venv env && env/bin/pip install -q --no-index ./made-*.whl && env/bin/made"
    )
    assert "installed" in await sh(project, ". env/bin/activate && made"), "it stays for the next command"


async def test_everyday_git(project: Sandbox, repo: Path) -> None:
    output = await sh(
        project,
        f"""set -e
        git checkout -qb topic; git add -A; {IDENTITY} commit -qm work
        echo more >> README.md; {IDENTITY} stash -q; git stash pop -q; git checkout -q README.md
        {IDENTITY} tag -a v1 -m v1; git branch other HEAD~1; git checkout -q other
        echo x > x; git add x; {IDENTITY} commit -qm x; {IDENTITY} commit -q --amend -m y
        {IDENTITY} rebase -q topic; git checkout -q topic; {IDENTITY} cherry-pick other > /dev/null
        {IDENTITY} merge -q other; git rm -q x; git mv README.md READ.md; git reset -q --hard
        {IDENTITY} revert --no-edit HEAD > /dev/null; git gc -q; git clone -q . /tmp/clone
        git log --format=%s -1""",
    )
    assert "fatal" not in output and "error" not in output
    assert git(repo, "fsck", "--no-dangling") == ""


async def test_a_linked_working_tree_in_the_workspace(project: Sandbox, repo: Path) -> None:
    """It can be made, worked in and removed in one command or several; git's own folder stays guarded."""
    await sh(
        project,
        f"git worktree add -q trees/one; cd trees/one; echo x > x; git add x; {IDENTITY} commit -qm x",
    )
    output = await sh(project, "cd trees/one && git status --short && git log -1 --format=%s")
    assert output.splitlines()[0] == "x"
    assert "trees/one" in await sh(project, "git worktree list")
    assert git(repo, "log", "-1", "--format=%s", "one") == "x\n"


async def test_standard_input(project: Sandbox) -> None:
    assert await sh(project, "wc -c", stdin=b"x" * 300_000) == "300000\n"
    assert await sh(project, "cat; echo end") == "end\n"


async def test_programs_of_the_project_run(project: Sandbox, repo: Path) -> None:
    tool = repo / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/usr/bin/env python3\nprint('tool')\n")
    tool.chmod(0o755)
    assert await sh(project, "bin/tool") == "tool\n"
