"""Every protection of the sandbox: how to take it out, what else covers the same, which tests are to notice.

A change is a text of a file that is there exactly once, and what stands there instead. `remove` takes the
protection out; `others_off` switches off the layers that would hold in its place, so that a test which still
passes has not looked. `bench.mutation_check` runs the table.

Not in it, because no test could tell: the host name's namespace and that of control groups (without
capabilities neither gives anything away), the demand for a user namespace (without one the supervisor refuses
to start, see "user namespace of its own"), and the sandbox's own namespace for processes (without it the
kernel lets nobody mount a /proc).
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.git_guard import STARTERS
from sandbox.inside.namespaces import KERNEL


@dataclass(frozen=True)
class Change:
    file: str
    """Relative to `sandbox/`."""
    text: str
    instead: str


@dataclass(frozen=True)
class Protection:
    name: str
    remove: tuple[Change, ...]
    tests: tuple[str, ...]
    """What pytest is told: files of `tests/sandbox/`, with `::test` or `::test[parameter]` behind."""
    others_off: tuple[Change, ...] = ()
    probe: bool = False
    """Whether the probe stays on: elsewhere it would refuse the sandbox before any test had looked."""


BOX, WRAP, POLICY, LAUNCH = "box.py", "bubblewrap.py", "policy.py", "launcher.py"
OUTSIDE, GUARD, WORKSPACE, FILTER = "supervisor.py", "git_guard.py", "workspace.py", "seccomp.py"
ROOMS, CONFINE, KEEPER, SERVE = (f"inside/{name}.py" for name in ("namespaces", "confine", "keeper", "serve"))
USAGE, DISK, PROBE = (f"inside/{name}.py" for name in ("usage", "disk", "probe"))
SERVER, TREE = (f"inside/{name}.py" for name in ("file_server", "tree"))
CALLS, CHAIN, SCRATCH, CAPTURE = "inside/system_calls.py", "toolchain.py", "scratch.py", "capture.py"

ATTACKS, FURTHER, GIT, LAYERS = "test_attacks.py", "test_rooms.py", "test_git_guard.py", "test_layers.py"
COMMANDS, FILES, CALLED, TRIED = "test_commands.py", "test_files.py", "test_seccomp.py", "test_probe.py"

# Layers that cover for others.

NO_PROBE = Change(BOX, "return set(done.stdout.text().splitlines()) - tolerated", "return set()")
NO_LANDLOCK = Change(BOX, "[True, False] if landlock_version() >= LEAST_VERSION else [False]", "[False]")
NO_FILTER = Change(BOX, "list(dict.fromkeys([seccomp.program(), None]))", "[None]")
WRITABLE_ROOT = Change(WRAP, '["--ro-bind", "/", "/", "--dev"', '["--bind", "/", "/", "--dev"')
SHOWN_ENVIRONMENT = Change(OUTSIDE, "env={},", "env=None,")
NOT_CLEARED = Change(WRAP, '[*args, "--clearenv", "--chdir", "/"]', '[*args, "--chdir", "/"]')
DUMPABLE = Change(CONFINE, "prctl(SET_DUMPABLE, 0)", "pass")
SHARED_PROCESSES = Change(
    ROOMS, "unshare(NEW_PROCESSES | NEW_MOUNTS | NEW_IPC)", "unshare(NEW_MOUNTS | NEW_IPC)"
)
SHARED_IPC = Change(
    ROOMS, "unshare(NEW_PROCESSES | NEW_MOUNTS | NEW_IPC)", "unshare(NEW_PROCESSES | NEW_MOUNTS)"
)
PRIVILEGES = Change(CONFINE, "prctl(SET_NO_NEW_PRIVILEGES, 1)", "pass")
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
DEAF_KEEPER = Change(
    KEEPER, "poll.unregister(channel)\n            os.kill(first, watch.order)", "poll.unregister(channel)"
)


def _without_kind(kind: str) -> Change:
    """`--unshare-all` with one kind left out."""
    kinds = [f'"--unshare-{name}"' for name in ("pid", "net", "ipc", "uts", "cgroup-try") if name != kind]
    return Change(WRAP, '"--unshare-all"', ", ".join(kinds))


def _starter(name: str) -> Change:
    text = "STARTERS = (" + ", ".join(f'"{starter}"' for starter in STARTERS) + ")"
    return Change(GUARD, text, text.replace(f'"{name}"', '"no-such"'))


def _kernel(name: str) -> Change:
    text = "KERNEL = (" + ", ".join(f'"{part}"' for part in KERNEL) + ")"
    return Change(ROOMS, text, text.replace(f'"{name}"', '"no-such"'))


NAMESPACES = (
    Protection("network namespace", (_without_kind("net"),), (
        f"{ATTACKS}::test_the_hosts_network_is_out_of_reach",
        f"{ATTACKS}::test_abstract_sockets_are_out_of_reach",
    )),
    Protection("interprocess memory of the sandbox", (_without_kind("ipc"),), (
        f"{FURTHER}::test_the_hosts_shared_memory_is_not_seen",
    ), (SHARED_IPC,)),
    # What would follow is done to the machine, so that it is disarmed first.
    Protection("user namespace of its own", (
        Change(SERVE, "if not in_user_namespace():", "if False:"),
    ), (f"{COMMANDS}::test_bubblewrap_that_cannot_start_or_does_not_hold",), (
        Change(SERVE, "    no_more_user_namespaces()\n", '    in_user_namespace() or sys.exit("went on")\n'),
    ), probe=True),
    Protection("no more user namespaces", (
        Change(SERVE, "    no_more_user_namespaces()\n", ""),
    ), (f"{FURTHER}::test_user_namespaces_cannot_be_made",), (NO_FILTER,)),
    Protection("process namespace of a command", (SHARED_PROCESSES,), (
        f"{FURTHER}::test_commands_do_not_see_each_other", f"{ATTACKS}::test_nothing_survives",
    )),
    Protection("interprocess memory of a command", (SHARED_IPC,), (
        f"{FURTHER}::test_shared_memory_of_one_command_is_not_the_nexts",
    )),
    Protection("mounts of a command", (
        Change(ROOMS, "unshare(NEW_PROCESSES | NEW_MOUNTS | NEW_IPC)", "unshare(NEW_PROCESSES | NEW_IPC)"),
    ), (f"{FURTHER}::test_commands_at_once_have_rooms_of_their_own",)),
    Protection("/proc of a command", (
        Change(ROOMS, 'mount("proc", "/proc", "proc", NO_SETUID | NO_DEVICES | NO_PROGRAMS)', "pass"),
    ), (f"{FURTHER}::test_commands_do_not_see_each_other",)),
    Protection("/dev/shm of a command", (
        Change(ROOMS, "if os.path.isdir(SHARED_MEMORY):", "if False:"),
    ), (f"{ATTACKS}::test_shared_memory_counts_and_is_gone_afterwards",)),
    *(
        Protection(f"/proc/{name} read-only", (_kernel(name),), (
            f"{FURTHER}::test_parts_of_proc_are_read_only[sandboxed-/proc/{name}]",
        ), (NO_LANDLOCK,))
        for name in KERNEL
    ),
)  # fmt: skip

MOUNTS = (
    Protection("read-only root", (WRITABLE_ROOT,), (
        f"{ATTACKS}::test_files_outside_stay",
    ), (NO_LANDLOCK,)),
    Protection("hidden folders", (
        Change(WRAP, "folder in policy.hidden:", 'folder in [f for f in policy.hidden if f.name == "run"]:'),
    ), (f"{ATTACKS}::test_home_is_hidden", f"{COMMANDS}::test_scratch_folders_vanish"), (NO_LANDLOCK,)),
    Protection("programs shine through hidden folders", (
        Change(WRAP, "for place in policy.readable:", "for place in ():"),
    ), (f"{COMMANDS}::test_programs_below_a_private_home",)),
    Protection("masked secrets", (
        Change(POLICY, "masked=_secrets(),", "masked=(),"),
    ), (f"{ATTACKS}::test_password_hashes_are_masked",)),
    Protection("masked unix sockets outside", (
        Change(BOX, "*(path for path in sockets if path not in own)", ""),
    ), (f"{ATTACKS}::test_the_hosts_unix_sockets_lead_nowhere",)),
    Protection("masked unix sockets in the workspace", (
        Change(WORKSPACE, "mounts += [Mount(NOTHING, path) for path in room.sockets]", "pass"),
    ), (f"{ATTACKS}::test_the_hosts_unix_sockets_lead_nowhere",)),
    Protection("read-only mounts", (
        Change(WRAP, '"--bind" if mount.writable else "--ro-bind"', '"--bind"'),
    ), (
        f"{FURTHER}::test_ostros_own_programs_cannot_be_changed",
        f"{COMMANDS}::test_what_is_lent_can_be_read_inside",
    )),
    Protection("PATH entries in the workspace", (
        Change(BOX, "if done.exit_code == 0 and done.stdout.total:", "if done.exit_code == 0:"),
    ), (f"{COMMANDS}::test_path_entries_in_the_workspace",)),
    Protection("bubblewrap from the repository", (
        Change(WRAP, "not Path(os.path.realpath(p)).is_relative_to(root)", "p"),
    ), (f"{COMMANDS}::test_the_repository_cannot_bring_bubblewrap",)),
    Protection("what a link in the workspace names", (
        Change(CHAIN, "if not _inside(prefix, self._root) and _is_python(prefix):\n"
                      "                    self.add_installation(prefix)",
               "self.add(step)"),
    ), (f"{COMMANDS}::test_a_hostile_venv_shows_nothing",)),
    Protection("folders too wide to be shown", (
        Change(CHAIN, "return _inside(self._root, real) or any(", "return False and any("),
    ), ("test_toolchain.py::test_a_home_folder_is_no_installation",)),
    Protection("mode of the scratch folder", (
        Change(SCRATCH, "os.chmod(real, 0o700)", "os.chmod(real, 0o755)"),
    ), (f"{FURTHER}::test_ostros_own_folders_are_private",)),
)  # fmt: skip

ENVIRONMENT = (
    Protection("environment allow-list", (
        Change(CHAIN, 'if k in PASSED_ON or k.startswith("LC_")', ""),
    ), (f"{ATTACKS}::test_environment_is_hidden",)),
    Protection("bubblewrap is started without an environment", (SHOWN_ENVIRONMENT,), (
        f"{ATTACKS}::test_environment_is_hidden", f"{ATTACKS}::test_first_process_has_no_environment",
    ), (NO_LANDLOCK, SHARED_PROCESSES)),
    Protection("bubblewrap clears the environment", (NOT_CLEARED,), (
        f"{ATTACKS}::test_environment_is_hidden",
    ), (NO_LANDLOCK, SHOWN_ENVIRONMENT, DUMPABLE)),
    Protection("not dumpable", (DUMPABLE,), (
        f"{FURTHER}::test_a_command_cannot_be_looked_into",
    ), (NO_LANDLOCK,)),
)  # fmt: skip

LIFE = (
    Protection("bubblewrap dies with Ostro", (
        Change(WRAP, ', "--die-with-parent"', ""),
    ), (f"{ATTACKS}::test_nothing_survives_a_killed_agent",), (DEAF_SUPERVISOR, DEAF_KEEPER)),
    Protection("the supervisor ends with its socket", (DEAF_SUPERVISOR,), (
        f"{ATTACKS}::test_nothing_survives_a_killed_agent",
    ), (Change(WRAP, ', "--die-with-parent"', ""), DEAF_KEEPER)),
    Protection("a keeper obeys its channel", (DEAF_KEEPER,), (
        f"{ATTACKS}::test_endless_output_ends_at_the_time_limit",
        f"{FURTHER}::test_output_that_nobody_waits_for_ends_with_the_time",
    )),
    Protection("death signal of the first process", (
        Change(KEEPER, "prctl(SET_DEATH_SIGNAL, signal.SIGKILL if rooms else signal.SIGTERM)", "pass"),
    ), (f"{LAYERS}::test_when_a_keeper_dies_its_command_goes",)),
    Protection("session of bubblewrap's starter", (OUTER_SESSION,), (
        f"{FURTHER}::test_a_command_begins_its_session_inside",
        f"{FURTHER}::test_the_terminal_of_the_caller_is_not_the_commands",
    ), (WRAPS_SESSION, FIRST_SESSION, COMMAND_SESSION)),
    Protection("session of bubblewrap", (WRAPS_SESSION,), (
        f"{FURTHER}::test_a_command_begins_its_session_inside",
        f"{FURTHER}::test_the_terminal_of_the_caller_is_not_the_commands",
    ), (OUTER_SESSION, FIRST_SESSION, COMMAND_SESSION)),
    Protection("session of the first process", (FIRST_SESSION,), (
        f"{FURTHER}::test_a_command_begins_its_session_inside",
    ), (OUTER_SESSION, WRAPS_SESSION, COMMAND_SESSION)),
    Protection("session of the command", (COMMAND_SESSION,), (
        f"{FURTHER}::test_a_command_begins_its_session_inside",
    ), (OUTER_SESSION, WRAPS_SESSION, FIRST_SESSION)),
    Protection("descriptors end with the command's start", (KEEPER_LEAKS,), (
        f"{ATTACKS}::test_no_inherited_file_descriptors", f"{LAYERS}::test_landlock_stops_a_folder_left_open",
    )),
)  # fmt: skip

RIGHTS = (
    Protection("capabilities of the supervisor", (
        Change(WRAP, '"--cap-drop", "ALL", *', "*"),
    ), (f"{FURTHER}::test_the_supervisor_has_three_capabilities",)),
    Protection("capabilities held", (HELD,), (
        f"{FURTHER}::test_a_started_program_has_no_capabilities", f"{ATTACKS}::test_no_capabilities",
    ), (AMBIENT_KEPT,)),
    Protection("ambient capabilities", (AMBIENT_KEPT,), (
        f"{FURTHER}::test_a_started_program_has_no_capabilities",
    ), (HELD,)),
    Protection("bounding set", (BOUNDING,), (f"{ATTACKS}::test_no_capabilities",)),
    Protection("root is nobody", (ROOT_IS_ROOT,), (f"{FURTHER}::test_root_is_nobody_inside",)),
    Protection("no new privileges", (PRIVILEGES,), (
        f"{ATTACKS}::test_no_capabilities",
    ), (NO_FILTER, NO_LANDLOCK)),
)  # fmt: skip

LANDLOCK = (
    Protection("Landlock", (
        Change(CONFINE, 'if settings["landlock"]:', "if False:"),
    ), (
        f"{LAYERS}::test_landlock_stops_a_mount_that_should_not_be_writable",
        f"{LAYERS}::test_landlock_stops_a_folder_left_open",
    )),
    Protection("Landlock: writes", (
        Change(CONFINE, "_allow(rules, place, _LOOK)", "_allow(rules, place, rights)"),
    ), (f"{ATTACKS}::test_files_outside_stay[sandboxed-echo changed > \"$1\"]",), (WRITABLE_ROOT,)),
    Protection("Landlock: cutting", (
        Change(CONFINE, "rights |= _TRUNCATE if version >= 3 else 0", "pass"),
    ), (f"{FURTHER}::test_files_outside_cannot_be_cut_by_their_path",), (WRITABLE_ROOT,)),
    Protection("Landlock: signals", (
        Change(CONFINE, "(_SIGNALS | (", "(0 | ("),
    ), (f"{FURTHER}::test_a_command_cannot_kill_its_keeper",), (SHARED_PROCESSES,)),
)  # fmt: skip

FILTERED = (
    Protection("the filter", (
        Change(CONFINE, 'install(bytes.fromhex(settings["filter"]))', "pass"),
    ), (f"{LAYERS}::test_the_filter_stops_what_no_mount_does",)),
    Protection("filter: denied calls", (
        Change(FILTER, "for number in sorted(machine.denied.values()):", "for number in ():"),
    ), (f"{CALLED}::test_every_denied_call_is_denied_and_no_other_call",)),
    Protection("filter: namespaces by clone", (
        Change(FILTER, "    steps += _of(machine.clone, _FIRST,", "    _of(machine.clone, _FIRST,"),
    ), (f"{CALLED}::test_clone_makes_threads_and_processes_but_no_namespaces",)),
    Protection("filter: clone3", (
        Change(FILTER, "    steps += _when((_EQUAL, _CLONE3)", "    _when((_EQUAL, _CLONE3)"),
    ), (CALLED,)),
    Protection("filter: socket families", (
        Change(FILTER, "steps += _of(number, _FIRST, _unless(", "_of(number, _FIRST, _unless("),
    ), (f"{CALLED}::test_sockets_of_four_families_only",)),
    Protection("filter: typing into a terminal", (
        Change(FILTER, "    steps += _of(machine.ioctl, _SECOND,", "    _of(machine.ioctl, _SECOND,"),
    ), (f"{CALLED}::test_nothing_types_into_a_terminal",)),
    Protection("filter: foreign processors", (
        Change(FILTER, "(_EQUAL, 1, 0, machine.architecture), _answer(KILL)",
               "(_EQUAL, 1, 0, machine.architecture), _answer(ALLOW)"),
    ), (f"{CALLED}::test_other_calling_conventions_are_the_end",)),
    Protection("filter: foreign numbers", (
        Change(FILTER, "if machine.foreign_from is not None:", "if False:"),
    ), (f"{CALLED}::test_other_calling_conventions_are_the_end",)),
)  # fmt: skip

LIMITED = (
    *(
        Protection(f"kernel's limit: {name}", (Change(CONFINE, text, ""),), (
            f"{FURTHER}::test_limits_of_the_kernel",
        ))
        for name, text in {
            "file size": 'resource.RLIMIT_FSIZE: limits["file_bytes"],',
            "open files": 'resource.RLIMIT_NOFILE: limits["open_files"],',
            "processes": 'resource.RLIMIT_NPROC: 10 * limits["processes"],',
            "core files": "resource.RLIMIT_CORE: 0,",
        }.items()
    ),
    # Not the bomb without an end: nothing would end it.
    Protection("watch: processes", (
        Change(USAGE, 'if tasks > limits["processes"]:', "if False:"),
    ), (f"{ATTACKS}::test_bombs_are_ended[threads]",)),
    Protection("watch: memory", (
        Change(USAGE, 'if memory > limits["memory_bytes"]:', "if False:"),
    ), (f"{ATTACKS}::test_memory_is_limited_together[90]",)),
    Protection("watch: /dev/shm", (
        Change(USAGE, "memory += shared\n", "pass\n"),
    ), (f"{ATTACKS}::test_shared_memory_counts_and_is_gone_afterwards",)),
    Protection("watch: disk", (
        Change(KEEPER, 'return self._disk.exceeded(self._limits["disk_bytes"])', 'return ""'),
    ), (f"{ATTACKS}::test_the_disk_is_not_filled[files]",)),
    Protection("watch: what is left of the disk", (
        Change(DISK, "if _free(now) < least:", "if False:"),
    ), ("test_disk.py",)),
    Protection("time", (
        Change(LAUNCH, "timeout=limits.seconds)", "timeout=limits.seconds + 8)"),
    ), (f"{FURTHER}::test_output_that_nobody_waits_for_ends_with_the_time",)),
    Protection("output", (
        Change(CAPTURE, "if len(self._tail) > 2 * self._tail_room:", "if False:"),
        Change(CAPTURE, "self._tail[max(0, len(self._tail) - self._tail_room) :]", "self._tail"),
    ), (f"{ATTACKS}::test_flood_is_bounded_and_the_rest_drained",)),
    Protection("output that is told", (
        Change(CAPTURE, " or self.total > self._limit:\n            return\n        shown",
               ":\n            return\n        shown"),
        Change(CAPTURE, "shown = data[: self._limit - self.total]", "shown = data"),
    ), (f"{ATTACKS}::test_flood_is_bounded_and_the_rest_drained",)),
)  # fmt: skip

GUARDED = (
    Protection("pin of a git folder", (
        Change(GUARD, "made.append(Pin(there, writable=True))", "pass"),
    ), (f"{GIT}::test_nothing_makes_git_run_programs", f"{ATTACKS}::test_git_hooks_and_configuration_stay")),
    *(
        Protection(f"pin of {name}", (_starter(name),), (f"{GIT}::test_nothing_makes_git_run_programs",))
        for name in STARTERS
    ),
    Protection("pins are read-only", (
        Change(GUARD, "made += [Pin(there / name) for name in STARTERS]",
               "made += [Pin(there / name, writable=True) for name in STARTERS]"),
    ), (f"{ATTACKS}::test_git_hooks_and_configuration_stay",)),
    Protection("pin of pointers and linked starters", (
        Change(GUARD, "made.append(Pin(there))\n", "pass\n"),
    ), (f"{GIT}::test_pointers_stay", f"{ATTACKS}::test_linked_hooks_are_protected_too")),
    Protection("hooks folder where there is none", (
        Change(GUARD, '(here / "hooks").mkdir(exist_ok=True)', "pass"),
    ), (f"{ATTACKS}::test_hooks_cannot_be_made_where_there_are_none",)),
    Protection("no links on the way to a pin", (
        Change(CALLS, "os.O_PATH | os.O_CLOEXEC, 0, _NO_LINKS", "os.O_PATH | os.O_CLOEXEC, 0, 0"),
    ), (f"{LAYERS}::test_a_pin_that_cannot_be_made_is_an_error",)),
    Protection("intruders are renamed", (
        Change(WORKSPACE, "    if not found:\n", "    if True:\n"),
    ), (f"{GIT}::test_nothing_makes_git_run_programs", f"{GIT}::test_what_was_removed_is_said")),
    Protection("bare repositories are found", (
        Change(GUARD, "is_git = folders.keys() >= _LOOKS_LIKE_GIT or", "is_git = False or"),
    ), (f"{GIT}::test_all_of_them_are_found",)),
    Protection("repositories in a git folder are found", (
        Change(GUARD, "and (not is_git or name in _IN_GIT)", "and not is_git"),
    ), (f"{GIT}::test_all_of_them_are_found",)),
)  # fmt: skip

SERVED = (
    Protection("file server: above the workspace", (
        Change(TREE, "if len(opened) == 1:", "if False:"),
    ), (f"{FILES}::test_paths_cannot_leave",)),
    Protection("file server: absolute paths", (
        Change(TREE, "if os.path.isabs(path):", "if False:"),
    ), (f"{FILES}::test_paths_cannot_leave", f"{FILES}::test_one_sentence_for_each_mistake")),
    Protection("file server: links that leave", (
        Change(TREE, 'if target != self.root and not target.startswith(self.root + "/"):', "if False:"),
    ), (f"{FILES}::test_links_that_leave_are_refused",)),
    Protection("file server: git folders", (
        Change(TREE, "if any(is_git_name(part) for part in parts):", "if False:"),
    ), (f"{FILES}::test_git_folders_are_not_written",)),
    Protection("file server: git folders through links", (
        Change(TREE, "_require_not_git(path, onward)", "pass"),
    ), (f"{FILES}::test_git_folder_through_a_link_is_not_written",)),
    Protection("file server: special files", (
        Change(SERVER, "if not stat.S_ISREG(status.st_mode):", "if False:"),
    ), (f"{FILES}::test_special_files_are_refused",)),
    Protection("file server: hard links", (
        Change(SERVER, "if status.st_nlink > 1:", "if False:"),
    ), (f"{FILES}::test_hard_links_are_not_written_through",)),
    Protection("file server: write protection", (
        Change(SERVER, "if not status.st_mode & 0o222 or not os.access(", "if False and not os.access("),
    ), (f"{FILES}::test_a_write_protected_file_stays",)),
)  # fmt: skip

ATTEMPTS = {
    "outside": "outside(canary)",
    "kernel parameters": "kernel_parameters",
    "first environment": "first_environment",
    "network": "network",
    "capabilities": "capabilities",
    "remount": "remount(c)",
    "namespaces": "namespaces(c)",
    "system calls": "system_calls(c)",
    "beyond mounts": "beyond_mounts",
}
"""What the probe tries, by name, and how its table spells that."""


def _attempt(name: str, spelled: str) -> Protection:
    value = f"lambda: {spelled}" if "(" in spelled else spelled
    change = Change(PROBE, f'"{name}": {value},', f'"{name}": lambda: False,')
    return Protection(
        f"probe: {name}", (change,), (f"{TRIED}::test_a_broken_layer_is_noticed[{name}]",), probe=True
    )


PROBED = (
    *(_attempt(name, spelled) for name, spelled in ATTEMPTS.items()),
    Protection("what the probe finds is heeded", (NO_PROBE,), (
        f"{COMMANDS}::test_bubblewrap_that_cannot_start_or_does_not_hold",
    ), probe=True),
)  # fmt: skip

PROTECTIONS = (
    *NAMESPACES, *MOUNTS, *ENVIRONMENT, *LIFE, *RIGHTS, *LANDLOCK, *FILTERED, *LIMITED, *GUARDED, *SERVED,
    *PROBED,
)  # fmt: skip
