"""What a command sees, and how long it lives: namespaces, mounts, environment, sessions."""

from __future__ import annotations

from bench.protections.changing import (
    ATTACKS,
    BOX,
    CHAIN,
    COMMAND_SESSION,
    COMMANDS,
    DEAF_KEEPER,
    DEAF_SUPERVISOR,
    DUMPABLE,
    ENDS_WELL,
    FIRST_SESSION,
    FURTHER,
    KEEPER,
    KEEPER_LEAKS,
    LAYERS,
    NO_FILTER,
    NO_LANDLOCK,
    NOT_CLEARED,
    NOT_INTERRUPTED,
    OUTER_SESSION,
    OVERUSED,
    PATIENT,
    POLICY,
    PROCESSES,
    ROOMS,
    SCRATCH,
    SCRATCHED,
    SERVE,
    SHARED_IPC,
    SHARED_PROCESSES,
    SHOWN_ENVIRONMENT,
    STAYS_STOPPED,
    STOPPED,
    WORKSPACE,
    WRAP,
    WRAPS_SESSION,
    WRITABLE_ROOT,
    Change,
    Protection,
)
from sandbox.inside.namespaces import KERNEL


def _without_kind(kind: str) -> Change:
    """`--unshare-all` with one kind left out."""
    kinds = [f'"--unshare-{name}"' for name in ("pid", "net", "ipc", "uts", "cgroup-try") if name != kind]
    return Change(WRAP, '"--unshare-all"', ", ".join(kinds))


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
        f"{FURTHER}::test_commands_do_not_see_each_other[sandboxed]", f"{ATTACKS}::test_nothing_survives",
    )),
    Protection("interprocess memory of a command", (SHARED_IPC,), (
        f"{FURTHER}::test_shared_memory_of_one_command_is_not_the_nexts[sandboxed]",
    )),
    Protection("mounts of a command", (
        Change(ROOMS, "unshare(NEW_PROCESSES | NEW_MOUNTS | NEW_IPC)", "unshare(NEW_PROCESSES | NEW_IPC)"),
    ), (f"{FURTHER}::test_commands_at_once_have_rooms_of_their_own[sandboxed]",)),
    Protection("/proc of a command", (
        Change(ROOMS, 'mount("proc", "/proc", "proc", NO_SETUID | NO_DEVICES | NO_PROGRAMS)', "pass"),
    ), (f"{FURTHER}::test_commands_do_not_see_each_other[sandboxed]",)),
    Protection("/dev/shm of a command", (
        Change(ROOMS, "if os.path.isdir(SHARED_MEMORY):", "if False:"),
    ), (f"{OVERUSED}::test_shared_memory_counts",)),
    *(
        Protection(f"/proc/{name} read-only", (_kernel(name),), (
            f"{FURTHER}::test_parts_of_proc_are_read_only[sandboxed-/proc/{name}]",
        ), (NO_LANDLOCK,))
        for name in KERNEL
    ),
    Protection("devices of the machine", (
        Change(ROOMS, "    for name in DEVICES:\n", "    for name in ():\n"),
    ), (f"{FURTHER}::test_devices_of_the_machine_are_taken_from_nobody",)),
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
    Protection("nothing beside Ostro's own programs", (
        Change(WRAP, '"--remount-ro", str(OWN_PLACE), ', ""),
    ), (f"{FURTHER}::test_nothing_is_laid_beside_ostros_own_programs[sandboxed]",), (NO_LANDLOCK,)),
    Protection("the second view is read-only", (
        Change(ROOMS, "_bind(root, second)", "_bind(root, second, read_only=False)"),
    ), (f"{FURTHER}::test_what_holds_the_repository_is_no_other_way_to_it[sandboxed]",)),
    Protection("no files in /dev", (
        Change(WRAP, '"--remount-ro", "/dev", ', ""),
    ), (f"{FURTHER}::test_files_in_memory_can_be_laid_nowhere_else[sandboxed]",), (NO_LANDLOCK,)),
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
        f"{FURTHER}::test_ostros_own_programs_cannot_be_changed[sandboxed]",
        f"{COMMANDS}::test_what_is_lent_can_be_read_inside",
    )),
    Protection("PATH entries in the workspace", (
        Change(BOX, "if done.exit_code == 0 and done.stdout.total:", "if done.exit_code == 0:"),
    ), (f"{COMMANDS}::test_path_entries_in_the_workspace",)),
    Protection("bubblewrap from the repository", (
        Change(WRAP, 'path_outside(environ.get("PATH", ""), root)', 'environ.get("PATH", "")'),
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
    Protection("own folders: however deep", (
        Change(SCRATCH, "os.rename(inner, new, src_dir_fd=folder, dst_dir_fd=top)", "pass"),
    ), (
        f"{SCRATCHED}::test_what_a_killed_session_left_stops_no_other[sandboxed]",
    )),
    Protection("own folders: links", (
        Change(SCRATCH, "os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW |", "os.O_PATH | os.O_DIRECTORY |"),
    ), (f"{SCRATCHED}::test_no_link_is_followed_and_no_permission_needed",)),
    Protection("own folders: a start in any case", (
        Change(SCRATCH, "contextlib.suppress(Exception)", "contextlib.suppress(OSError)"),
    ), (f"{SCRATCHED}::test_what_cannot_be_swept_stops_no_other",)),
)  # fmt: skip

ENVIRONMENT = (
    Protection("environment allow-list", (
        Change(CHAIN, 'if k in PASSED_ON or k.startswith("LC_")', ""),
    ), (f"{ATTACKS}::test_environment_is_hidden",)),
    Protection("bubblewrap is started without an environment", (SHOWN_ENVIRONMENT,), (
        f"{ATTACKS}::test_environment_is_hidden",
        f"{ATTACKS}::test_first_process_has_no_environment[sandboxed]",
    ), (NO_LANDLOCK, SHARED_PROCESSES)),
    Protection("bubblewrap clears the environment", (NOT_CLEARED,), (
        f"{ATTACKS}::test_environment_is_hidden",
    ), (NO_LANDLOCK, SHOWN_ENVIRONMENT, DUMPABLE)),
    Protection("not dumpable", (DUMPABLE,), (
        f"{FURTHER}::test_a_command_cannot_be_looked_into[sandboxed]",
    ), (NO_LANDLOCK,)),
)  # fmt: skip

LIFE = (
    Protection("bubblewrap dies with Ostro", (
        Change(WRAP, ', "--die-with-parent"', ""),
    ), (f"{ATTACKS}::test_nothing_survives_a_killed_agent[sandboxed]",), (DEAF_SUPERVISOR, DEAF_KEEPER)),
    Protection("the supervisor ends with its socket", (DEAF_SUPERVISOR,), (
        f"{ATTACKS}::test_nothing_survives_a_killed_agent[sandboxed]",
    ), (Change(WRAP, ', "--die-with-parent"', ""), DEAF_KEEPER)),
    Protection("a keeper ends with the supervisor", (
        Change(KEEPER, "    prctl(SET_DEATH_SIGNAL, signal.SIGKILL)\n", "    pass\n"),
    ), (f"{ATTACKS}::test_nothing_survives_a_killed_agent[sandboxed]",), (
        Change(WRAP, ', "--die-with-parent"', ""), DEAF_KEEPER,
    )),
    Protection("a keeper obeys its channel", (DEAF_KEEPER,), (
        f"{OVERUSED}::test_endless_output_ends_at_the_time_limit",
        f"{FURTHER}::test_output_that_nobody_waits_for_ends_with_the_time",
    )),
    Protection("death signal of the first process", (
        Change(KEEPER, "prctl(SET_DEATH_SIGNAL, signal.SIGKILL if rooms else signal.SIGTERM)", "pass"),
    ), (f"{LAYERS}::test_when_a_keeper_dies_its_command_goes",)),
    Protection("no interrupt ends the first process", (NOT_INTERRUPTED,), (
        f"{PROCESSES}::test_no_process_ends_a_command_as_if_it_had_succeeded[sandboxed]",
    ), (ENDS_WELL,)),
    Protection("a first process that fails has not succeeded", (ENDS_WELL,), (
        f"{PROCESSES}::test_no_process_ends_a_command_as_if_it_had_succeeded[sandboxed]",
    ), (NOT_INTERRUPTED,)),
    Protection("a first process that was stopped goes on to end all", (STAYS_STOPPED,), (
        f"{STOPPED}::test_a_command_that_stops_what_would_end_it_is_ended[once]",
    ), (PATIENT,)),
    Protection("one that stays stopped is done without", (PATIENT,), (
        f"{STOPPED}::test_a_command_that_stops_what_would_end_it_is_ended[once]",
    ), (STAYS_STOPPED,)),
    Protection("a keeper outlives the supervisor where it alone can end all", (
        Change(KEEPER, "if settings[\"rooms\"]:\n        # Bubblewrap's", "if True:\n        # Bubblewrap's"),
    ), (f"{STOPPED}::test_it_does_not_outlive_a_killed_agent_by_that",), (STAYS_STOPPED,)),
    Protection("session of bubblewrap's starter", (OUTER_SESSION,), (
        f"{FURTHER}::test_the_terminal_of_the_caller_is_not_the_commands",
    ), (WRAPS_SESSION, FIRST_SESSION, COMMAND_SESSION)),
    Protection("session of bubblewrap", (WRAPS_SESSION,), (
        f"{FURTHER}::test_the_terminal_of_the_caller_is_not_the_commands",
    ), (OUTER_SESSION, FIRST_SESSION, COMMAND_SESSION)),
    Protection("session of the first process", (FIRST_SESSION,), (
        f"{FURTHER}::test_a_command_begins_its_session_inside[sandboxed]",
    ), (OUTER_SESSION, WRAPS_SESSION, COMMAND_SESSION)),
    Protection("session of the command", (COMMAND_SESSION,), (
        f"{FURTHER}::test_a_command_begins_its_session_inside[sandboxed]",
    ), (OUTER_SESSION, WRAPS_SESSION, FIRST_SESSION)),
    Protection("descriptors end with the command's start", (KEEPER_LEAKS,), (
        f"{ATTACKS}::test_no_inherited_file_descriptors", f"{LAYERS}::test_landlock_stops_a_folder_left_open",
    )),
)  # fmt: skip
