"""How a protection is taken out: changes of the source, and layers that cover for others."""

from __future__ import annotations

from dataclasses import dataclass

HOUSE = ("tui", "agent", "tools", "sandbox", "engine")


@dataclass(frozen=True)
class Change:
    file: str
    """Relative to `sandbox/`, or to the whole tree where it begins with a room: `agent/trust.py`."""
    text: str
    instead: str

    @property
    def path(self) -> str:
        return self.file if self.file.split("/")[0] in HOUSE else f"sandbox/{self.file}"


@dataclass(frozen=True)
class Protection:
    name: str
    remove: tuple[Change, ...]
    tests: tuple[str, ...]
    """Files of `tests/sandbox/`, or whole paths (`tests/agent/test_trust.py`), with `::test` or
    `::test[parameter]` behind."""
    others_off: tuple[Change, ...] = ()
    probe: bool = False
    """Whether the probe stays on: elsewhere it would refuse the sandbox before any test had looked."""
    ends_in_time: bool = False
    """Whether it is an end in time that is protected: then a test that hangs has noticed."""


BOX, WRAP, POLICY, LAUNCH = "box.py", "bubblewrap.py", "policy.py", "launcher.py"
FOLDERS = "git_folders.py"
OUTSIDE, GUARD, WORKSPACE, FILTER = "supervisor.py", "git_guard.py", "workspace.py", "seccomp.py"
ROOMS, CONFINE, KEEPER, SERVE = (f"inside/{name}.py" for name in ("namespaces", "confine", "keeper", "serve"))
USAGE, MEMORY, DISK, PROBE = (f"inside/{name}.py" for name in ("usage", "memory", "disk", "probe"))
SERVER, TREE = (f"inside/{name}.py" for name in ("file_server", "tree"))
CALLS, CHAIN, SCRATCH, CAPTURE = "inside/system_calls.py", "toolchain.py", "scratch.py", "capture.py"
ASKED = "files.py"
ALONE, FORK, COPIER, FORKS = "alone.py", "forks.py", "inside/tree_copy.py", "test_forks.py"

ATTACKS, FURTHER, GIT, LAYERS = "test_attacks.py", "test_rooms.py", "test_git_guard.py", "test_layers.py"
OVERUSED = "test_attack_limits.py"
COMMANDS, FILES, CALLED, TRIED = "test_commands.py", "test_files.py", "test_seccomp.py", "test_probe.py"
ASIDE = "test_attack_git_aside.py"
STOPPED = "test_tier_c_stopped.py"
PROCESSES, APARTS, SCRATCHED = "test_attack_processes.py", "test_tier_c.py", "test_scratch.py"

# Layers that cover for others.

NO_PROBE = Change(BOX, "return set(done.stdout.text().splitlines()) - tolerated", "return set()")
NO_LANDLOCK = Change(BOX, "[True, False] if landlock_version() >= LEAST_VERSION else [False]", "[False]")
NO_FILTER = Change(BOX, "list(dict.fromkeys([seccomp.program(), None]))", "[None]")
WRITABLE_ROOT = Change(WRAP, '["--ro-bind", "/", "/", "--dev"', '["--bind", "/", "/", "--dev"')
SHOWN_ENVIRONMENT = Change(OUTSIDE, "env={},", "env=None,")
NOT_CLEARED = Change(WRAP, '"--clearenv", "--chdir", "/"]', '"--chdir", "/"]')
DUMPABLE = Change(CONFINE, "prctl(SET_DUMPABLE, 0)", "pass")
SHARED_PROCESSES = Change(
    ROOMS, "unshare(NEW_PROCESSES | NEW_MOUNTS | NEW_IPC)", "unshare(NEW_MOUNTS | NEW_IPC)"
)
SHARED_IPC = Change(
    ROOMS, "unshare(NEW_PROCESSES | NEW_MOUNTS | NEW_IPC)", "unshare(NEW_PROCESSES | NEW_MOUNTS)"
)
ROOT_IS_ROOT = Change(CONFINE, "prctl(SET_SECURE_BITS, _ROOT_IS_NOBODY)", "pass")
BOUNDING = Change(CALLS, "prctl(DROP_FROM_BOUND, capability)", "pass")
AMBIENT_KEPT = Change(CONFINE, "prctl(AMBIENT, _CLEAR_AMBIENT)", "pass")
HELD = Change(CALLS, "    _checked(C.capset(", "    (C.capget(")
OUTER_SESSION = Change(OUTSIDE, "start_new_session=True,", "start_new_session=False,")
WRAPS_SESSION = Change(WRAP, '"--new-session", ', "")
FIRST_SESSION = Change(KEEPER, "os.setsid()\n        if not rooms", "if not rooms")
COMMAND_SESSION = Change(KEEPER, "os.setsid()\n        os.chdir", "os.chdir")
KEEPER_LEAKS = Change(KEEPER, 'os.closerange(3, os.sysconf("SC_OPEN_MAX"))', "pass")
DEAF_SUPERVISOR = Change(SERVE, "        for fd in given:\n            os.close(fd)\n", (
    '        for fd in given:\n            os.close(fd)\n    __import__("time").sleep(8)\n'
))  # fmt: skip
DEAF_KEEPER = Change(KEEPER, "poll.unregister(channel)\n            over = True", "poll.unregister(channel)")
NOT_INTERRUPTED = Change(KEEPER, "signal.signal(signal.SIGINT, signal.SIG_DFL)", "pass")
ENDS_WELL = Change(KEEPER, "os._exit(KILLED)\n    for", "os._exit(0)\n    for")
PATIENT = Change(KEEPER, "PATIENCE = 20", "PATIENCE = 10_000")
STAYS_STOPPED = Change(KEEPER, "(signal.SIGTERM, signal.SIGCONT) if asking", "(signal.SIGTERM,) if asking")
