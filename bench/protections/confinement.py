"""What a command gives up: rights, Landlock, system calls, and what it may use."""

from __future__ import annotations

from bench.protections.changing import (
    ALONE,
    AMBIENT_KEPT,
    APARTS,
    ATTACKS,
    BOUNDING,
    CALLED,
    CAPTURE,
    CONFINE,
    DISK,
    FILTER,
    FURTHER,
    HELD,
    KEEPER,
    LAUNCH,
    LAYERS,
    MEMORY,
    OVERUSED,
    PROCESSES,
    ROOT_IS_ROOT,
    SHARED_PROCESSES,
    USAGE,
    WRAP,
    WRITABLE_ROOT,
    Change,
    Protection,
)

RIGHTS = (
    Protection("capabilities of the supervisor", (
        Change(WRAP, '"--cap-drop", "ALL", *', "*"),
    ), (f"{FURTHER}::test_the_supervisor_has_three_capabilities[sandboxed]",)),
    Protection("capabilities held", (HELD,), (
        f"{FURTHER}::test_a_started_program_has_no_capabilities[sandboxed]",
        f"{ATTACKS}::test_no_capabilities[sandboxed]",
    ), (AMBIENT_KEPT,)),
    Protection("ambient capabilities", (AMBIENT_KEPT,), (
        f"{FURTHER}::test_nothing_of_a_capability_can_be_used[sandboxed]",
    ), (HELD,)),
    Protection("bounding set", (BOUNDING,), (f"{ATTACKS}::test_no_capabilities[sandboxed]",)),
    Protection("root is nobody", (ROOT_IS_ROOT,), (f"{FURTHER}::test_root_is_nobody_inside[sandboxed]",)),
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
    ), (f"{FURTHER}::test_a_command_cannot_kill_its_keeper[sandboxed]",), (SHARED_PROCESSES,)),
)  # fmt: skip

FILTERED = (
    Protection("the filter", (
        Change(CONFINE, 'install(bytes.fromhex(settings["filter"]))', "pass"),
    ), (f"{LAYERS}::test_the_filter_stops_what_no_mount_does",)),
    Protection("filter: denied calls", (
        Change(FILTER, "for number in sorted(machine.denied.values()):", "for number in ():"),
    ), (f"{CALLED}::test_every_denied_call_is_denied_and_no_other_call",)),
    Protection("filter: namespaces by clone", (
        Change(FILTER, "    steps += _of(machine.clone, 0,", "    _of(machine.clone, 0,"),
    ), (f"{CALLED}::test_clone_makes_threads_and_processes_but_no_namespaces",)),
    Protection("filter: clone3", (
        Change(FILTER, "(_CLONE3,) if set_user_id else (_CLONE3, _OPENAT2)",
               "() if set_user_id else (_OPENAT2,)"),
    ), (CALLED,)),
    Protection("filter: openat2", (
        Change(FILTER, "(_CLONE3,) if set_user_id else (_CLONE3, _OPENAT2)", "(_CLONE3,)"),
    ), (CALLED,)),
    Protection("filter: set-user-id by a mode", (
        Change(FILTER, "        steps += _of(number, mode, denied)\n", "        _of(number, mode, denied)\n"),
    ), (f"{PROCESSES}::test_no_program_is_left_with_its_owners_rights[sandboxed-chmod]",)),
    Protection("filter: set-user-id by a new file", (
        Change(FILTER, "        steps += _of(number, flags, [", "        _of(number, flags, ["),
    ), (f"{PROCESSES}::test_no_program_is_left_with_its_owners_rights[sandboxed-made so]",)),
    Protection("filter: socket families", (
        Change(FILTER, "steps += _of(number, 0, _unless(allowed", "_of(number, 0, _unless(allowed"),
    ), (f"{CALLED}::test_sockets_of_four_families_only",)),
    Protection("filter: typing into a terminal", (
        Change(FILTER, "    steps += _of(machine.ioctl, 1,", "    _of(machine.ioctl, 1,"),
    ), (f"{CALLED}::test_nothing_types_into_a_terminal",)),
    Protection("filter: foreign processors", (
        Change(FILTER, "(_EQUAL, 1, 0, machine.architecture), _answer(KILL)",
               "(_EQUAL, 1, 0, machine.architecture), _answer(ALLOW)"),
    ), (f"{CALLED}::test_other_calling_conventions_are_the_end",)),
    Protection("filter: foreign numbers", (
        Change(FILTER, "if machine.foreign_from is not None:", "if False:"),
    ), (f"{CALLED}::test_other_calling_conventions_are_the_end",)),
)  # fmt: skip

APART = (
    Protection("tier C: terminals", (
        Change(ALONE, '"urandom", "tty"))', '"urandom", "tty", "pts"))'),
    ), (f"{APARTS}::test_the_users_terminals_are_neither_read_nor_written[alone]",)),
    Protection("tier C: devices", (
        Change(ALONE, '    "/sys/devices/system/cpu",\n', '    "/sys/devices/system/cpu",\n    "/dev",\n'),
    ), (
        f"{APARTS}::test_only_devices_that_are_nobodys_can_be_opened[alone]",
        f"{APARTS}::test_shared_memory_of_others_is_out_of_reach[alone]",
    )),
    *(
        Protection(f"tier C: {name}", (
            Change(FILTER, f"for number in {places}:", "for number in ():"),
        ), (f"{APARTS}::{test}[alone]",))
        for name, places, test in (
            ("shared memory", "sorted(machine.shared.values())",
             "test_shared_memory_of_others_is_out_of_reach"),
            ("what stays in the kernel", "sorted(machine.shared.values())",
             "test_nothing_is_left_in_the_kernel"),
            ("attributes", "sorted(machine.attributes.values())",
             "test_files_outside_are_given_no_attributes"),
            ("limits of others", "machine.others.values()", "test_what_others_may_use_stays_as_it_is"),
        )
    ),
    # The kernel lets nobody without capabilities change the priority of a process that has some.
    Protection("tier C: priorities of others", (
        Change(FILTER, "for number, of_a_user in machine.ranks.values():", "for number, of_a_user in ():"),
    ), (f"{CALLED}::test_without_namespaces_a_process_sets_its_own_limits_alone",)),
    Protection("tier C: priorities of all that the user has", (
        Change(FILTER, "[*_when((_EQUAL, of_a_user), ERRNO | errno.EPERM), *whose]", "whose"),
    ), (f"{CALLED}::test_without_namespaces_a_process_sets_its_own_limits_alone",)),
)  # fmt: skip

LIMITED = (
    *(
        Protection(f"kernel's limit: {name}", (Change(CONFINE, text, ""),), (
            f"{FURTHER}::test_limits_of_the_kernel[sandboxed]",
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
    ), (f"{OVERUSED}::test_bombs_are_ended[threads-100]",)),
    Protection("watch: memory", (
        Change(USAGE, 'if memory > limits["memory_bytes"]:', "if False:"),
    ), (f"{OVERUSED}::test_memory_is_limited_together[90-256]",)),
    Protection("watch: memory that is nobody's", (
        Change(USAGE, "memory += unowned\n", "pass\n"),
    ), (
        f"{OVERUSED}::test_shared_memory_counts",
        f"{OVERUSED}::test_memory_that_is_no_processs_own_counts",
    )),
    Protection("watch: memory of the kernel's", (
        Change(MEMORY, "found = now.get(\"MemTotal\", 0) + shared - sum(now[name] for name in KNOWN)",
               "found = shared"),
    ), (
        f"{OVERUSED}::test_memory_that_is_no_processs_own_counts[sockets]",
        f"{OVERUSED}::test_memory_that_is_no_processs_own_counts[pipes]",
        f"{OVERUSED}::test_memory_that_is_no_processs_own_counts[empty files]",
    )),
    Protection("watch: what is left of the memory", (
        Change(MEMORY, '"MemAvailable", self._least) < self._least:', '"MemAvailable", 0) < 0:'),
    ), ("test_memory.py",)),
    Protection("watch: disk", (
        Change(KEEPER, "or self._disk.exceeded(disk_bytes)", ""),
    ), (f"{OVERUSED}::test_the_disk_is_not_filled[files-100]",)),
    Protection("watch: what is left of the disk", (
        Change(DISK, "if _free(now) < least:", "if False:"),
    ), ("test_disk.py",)),
    Protection("time", (
        Change(LAUNCH, "timeout=limits.seconds)", "timeout=limits.seconds + 8)"),
    ), (f"{FURTHER}::test_output_that_nobody_waits_for_ends_with_the_time",)),
    Protection("output", (
        Change(CAPTURE, "if len(self._tail) > 2 * self._tail_room:", "if False:"),
        Change(CAPTURE, "self._tail[max(0, len(self._tail) - self._tail_room) :]", "self._tail"),
    ), (f"{OVERUSED}::test_flood_is_bounded_and_the_rest_drained",)),
    Protection("output that is told", (
        Change(CAPTURE, " or self.total > self._limit:\n            return\n        shown",
               ":\n            return\n        shown"),
        Change(CAPTURE, "shown = data[: self._limit - self.total]", "shown = data"),
    ), (f"{OVERUSED}::test_flood_is_bounded_and_the_rest_drained",)),
)  # fmt: skip
