"""What is held of the workspace's files: git's own, and paths that a tool names."""

from __future__ import annotations

from bench.protections.changing import (
    ASIDE,
    ASKED,
    ATTACKS,
    BOX,
    CALLS,
    COMMANDS,
    COPIER,
    FILES,
    FOLDERS,
    FORK,
    FORKS,
    FURTHER,
    GIT,
    GUARD,
    LAYERS,
    POLICY,
    ROOMS,
    SERVE,
    SERVER,
    TREE,
    WORKSPACE,
    Change,
    Protection,
)
from sandbox.git_guard import STARTERS


def _starter(name: str) -> Change:
    text = "STARTERS = (\n" + "".join(f'    "{starter}",\n' for starter in STARTERS) + ")"
    return Change(GUARD, text, text.replace(f'"{name}"', '"no-such"'))


GUARDED = (
    Protection("pin of a git folder", (
        Change(GUARD, "for folder in (there, there / \"info\")}", "for folder in ()}"),
    ), (
        f"{GIT}::test_nothing_makes_git_run_programs[sandboxed-replaced-.git]",
        f"{GIT}::test_nothing_makes_git_run_programs[sandboxed-settings put aside-.git]",
    )),
    Protection("pins of the folders above", (
        Change(GUARD, "for folder in above if folder not in made}", "for folder in ()}"),
    ), (f"{GIT}::test_no_folder_above_is_moved_away",)),
    Protection("what is pinned stays", (
        Change(ROOMS, "        _bind(second + place.removeprefix(root))\n", "        pass\n"),
    ), (f"{GIT}::test_no_folder_above_is_moved_away",)),
    Protection("links in a git folder", (
        Change(GUARD, "if not other.startswith(f\"{name}/\")} | {name}", "}"),
    ), (f"{GIT}::test_no_link_leads_the_users_git_out",)),
    *(
        Protection(f"pin of {name}", (_starter(name),), (f"{GIT}::test_nothing_makes_git_run_programs",))
        for name in STARTERS
    ),
    *(
        Protection(f"orders in {name}", (
            Change("git_unfinished.py", f'    "{name}": {read},\n', ""),
        ), (f"test_git_unfinished.py::test_{test}[sandboxed{case}]",))
        for name, read, test, case in (
            ("rebase-merge/git-rebase-todo", "_programs", "no_line_is_added_to_a_rebase", "-exec"),
            ("rebase-merge/strategy", "_strategy", "no_program_merges", "-a rebase"),
            ("sequencer/opts", "_strategies", "no_program_merges", "-a cherry-pick"),
            ("rebase-apply/apply-opt", "_options", "no_patch_writes_elsewhere", ""),
        )
    ),
    Protection("orders in what is too long to look through", (
        Change("git_unfinished.py", "if len(content) >= _LONGEST:", "if False:"),
    ), ("test_git_unfinished.py::test_no_line_is_added_to_a_rebase[sandboxed-behind a megabyte]",)),
    Protection("it is said where orders are not put aside", (
        Change(GUARD, "same = same and now.orders <= place.orders", "pass"),
    ), ("test_git_unfinished.py::test_where_nothing_is_put_aside_it_is_said",)),
    Protection("pins are read-only", (
        Change(GUARD, "made |= {there / name: Pin(there / name) for name in STARTERS}",
               "made |= {there / name: Pin(there / name, writable=True) for name in STARTERS}"),
    ), (f"{ATTACKS}::test_git_hooks_and_configuration_stay",)),
    Protection("pin of pointers and linked starters", (
        Change(GUARD, "made[there] = Pin(there)\n", "pass\n"),
    ), (f"{GIT}::test_pointers_stay", f"{ATTACKS}::test_linked_hooks_are_protected_too[sandboxed]")),
    Protection("hooks folder where there is none", (
        Change(GUARD, '(here / "hooks").mkdir(exist_ok=True)', "pass"),
    ), (f"{ATTACKS}::test_hooks_cannot_be_made_where_there_are_none[sandboxed]",)),
    Protection("what the configuration names", (
        Change(BOX, "guarded += await asyncio.to_thread(git_guard.look, repository.root, sorted(set(named)))",
               "pass"),
    ), (f"{GIT}::test_what_the_configuration_names_stays",)),
    Protection("hooks that the user's own configuration names", (
        Change(BOX, "named += users_hooks(repository.root, guarded, hooks)", "pass"),
    ), (f"{GIT}::test_what_the_users_own_configuration_names_stays",)),
    Protection("what the configuration names from the home folder", (
        Change("git_configured.py", "place = os.path.expanduser(value)", "place = value"),
    ), (f"{GIT}::test_what_is_named_from_the_home_folder_stays",)),
    Protection("git's folders are opened again", (
        Change(WORKSPACE, "for path in closed:", "for path in ():"),
    ), (f"{GIT}::test_no_command_closes_the_repository",)),
    Protection("no links on the way to a pin", (
        Change(CALLS, "os.O_PATH | os.O_CLOEXEC, 0, _NO_LINKS", "os.O_PATH | os.O_CLOEXEC, 0, 0"),
    ), (f"{LAYERS}::test_a_pin_that_cannot_be_made_is_an_error",)),
    Protection("intruders are renamed", (
        Change(WORKSPACE, "    if not found:\n", "    if True:\n"),
    ), (f"{GIT}::test_nothing_makes_git_run_programs", f"{GIT}::test_what_was_removed_is_said")),
    Protection("what was put aside before stays", (
        Change("aside.py", '    while [ -e "$to" ] || [ -L "$to" ];', '    rm -rf -- "$to"; while false;'),
    ), (f"{GIT}::test_what_was_put_aside_before_stays",)),
    Protection("bare repositories are found", (
        Change(FOLDERS, "or _looks_like_git(inside)):\n            found", "):\n            found"),
    ), (f"{GIT}::test_all_of_them_are_found",)),
    Protection("repositories in a git folder are found", (
        Change(FOLDERS, 'and name in ("modules", "worktrees"):', "and False:"),
    ), (f"{GIT}::test_all_of_them_are_found",)),
    Protection("looks hide no repository", (
        Change(FOLDERS, 'is_git = kind == "git" and "HEAD" in inside',
               'is_git = "HEAD" in inside and "refs" in inside'),
    ), (f"{GIT}::test_no_looks_hide_a_repository",)),
    Protection("the workspace is no git folder", (
        Change(GUARD, 'found = ["HEAD"] if is_its_own(source) else []', "found = []"),
    ), (f"{ASIDE}::test_the_workspace_itself_does_not_become_the_git_folder",)),
    Protection("what a pointer leads to is a file", (
        Change("repository.py", "os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC", "os.O_RDONLY | os.O_CLOEXEC"),
    ), (f"{ASIDE}::test_a_tree_that_was_brought_holds_up_no_start",)),
    Protection("pipes in a git folder", (
        Change(GUARD, "entry.is_symlink() or _is_pipe(entry)", "entry.is_symlink()"),
    ), (f"{ASIDE}::test_git_waits_for_no_pipe",)),
    Protection("it is said where the workspace is one", (
        Change(GUARD, 'changed = ["."] if is_its_own(source) else []', "changed = []"),
    ), (f"{ASIDE}::test_where_nothing_is_held_it_is_said",)),
    Protection("folders are opened by a program of the system", (
        Change(WORKSPACE, "replace(self._own_policy(), pins=())", "replace(self._policy, pins=())"),
    ), (f"{ASIDE}::test_no_program_of_the_workspace_puts_git_in_order[chmod]",)),
    Protection("Ostro's own PATH: no folder in memory", (
        Change(POLICY, "if not self._is_empty(entry))", "if True)"),
    ), (f"{ASIDE}::test_nor_does_one_of_the_home_folder",)),
    Protection("intruders are renamed by a program of the system", (
        Change(WORKSPACE, "replace(self._own_policy(), pins=held)", "replace(self._policy, pins=held)"),
    ), (f"{ASIDE}::test_no_program_of_the_workspace_puts_git_in_order[mv]",)),
    Protection("the configuration is read by a program of the system", (
        Change(BOX, "mounted.for_own_programs(mounted.root), guarded", "mounted, guarded"),
    ), (f"{ASIDE}::test_no_program_of_the_workspace_is_asked_about_it",)),
    Protection("Ostro in the repository", (
        Change(BOX, "            _require_apart(repository.root)\n", "            pass\n"),
    ), (f"{COMMANDS}::test_ostro_in_the_repository_is_refused",)),
)  # fmt: skip

FORKED = (
    Protection("the workspace is the one there was", (
        Change(SERVE, "if not _is(path, identity):", "if False:"),
    ), (f"{FURTHER}::test_another_folder_at_the_path_of_the_repository_is_not_worked_in[sandboxed]",)),
    Protection("fork: an overlay is over the one there was", (
        Change(FORK, "if isinstance(tree, Mount) and tree.identity and", "if False and"),
    ), (f"{FURTHER}::test_another_folder_at_the_path_of_the_repository_is_not_worked_in[sandboxed]",)),
    Protection("fork: shared folders are those there were", (
        Change(SERVE, "if not _is(path, identity):", "if False:"),
    ), (f"{FORKS}::test_a_sandbox_started_anew_shares_nothing_else[sandboxed]",)),
    *(
        Protection(f"fork: {name}", (Change(file, text, instead),), (f"{FORKS}::{test}",))
        for name, file, text, instead, test in (
            ("holes stay holes", COPIER, "min(size, os.fstat(reader).st_size))",
             "size); os.posix_fallocate(writer, 0, size)", "test_permissions_and_holes_are_copied"),
            ("permissions without set-user-id", COPIER, " & ~stat.S_ISUID", "",
             "test_permissions_and_holes_are_copied"),
            ("disk of a copy", FORK, '{"disk_bytes": disk_bytes}', '{"disk_bytes": None}',
             "test_a_copy_takes_no_more_of_the_disk_than_a_command"),
        )
    ),
    Protection("fork: what is shared is read-only", (
        Change(FORK, "return Mount(source, target, identity", "return Mount(source, target, True, identity"),
    ), (f"{FORKS}::test_what_is_shared_is_not_written",)),
    Protection("fork: stands at once", (
        Change(WORKSPACE, (
            "            # Before another command can put a link in the place of what is shared.\n"
            "            await room.launcher.stand(fork._policy)\n"
        ), ""),
    ), (f"{FORKS}::test_what_is_shared_was_there_when_the_fork_was_made[sandboxed]",), (
        Change(SERVE, "if not _is(path, identity):", "if False:"),
    )),
)  # fmt: skip

SERVED = (
    Protection("file server: above the workspace", (
        Change(TREE, 'raise Refused(f"{path!r} leaves the workspace.")',
               'opened.insert(0, os.open("..", FOLDER, dir_fd=opened[0]))'),
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
    ), (f"{FILES}::test_git_folder_through_a_link_is_not_written",), (
        Change(TREE, "if change and _is_git_folder(opened[-1]):", "if False:"),
    )),
    Protection("file server: what looks like a git folder", (
        Change(TREE, "if change and _is_git_folder(opened[-1]):", "if False:"),
    ), (f"{FILES}::test_a_repository_without_a_git_folder_is_not_written",)),
    Protection("file server: special files", (
        Change(SERVER, "if not stat.S_ISREG(status.st_mode):", "if False:"),
    ), (f"{FILES}::test_special_files_are_refused",)),
    Protection("file server: hard links", (
        Change(SERVER, "if status.st_nlink > 1:", "if False:"),
    ), (f"{FILES}::test_hard_links_are_not_written_through",)),
    Protection("file server: answers that none has", (
        Change(ASKED, "if told > LONGEST or size > LARGEST:", "if False:"),
    ), (f"{FILES}::test_an_answer_that_none_of_ours_gives_is_not_read",)),
    Protection("file server: limits of its own", (
        Change(ASKED, "LIMITS = Limits(memory_bytes=1 << 30,", "LIMITS = Limits(memory_bytes=64 << 20,"),
    ), (f"{FILES}::test_a_limit_on_commands_leaves_the_tools_theirs",)),
    Protection("file server: write protection", (
        Change(SERVER, "if not status.st_mode & 0o222 or not os.access(", "if False and not os.access("),
    ), (f"{FILES}::test_a_write_protected_file_stays",)),
)  # fmt: skip

LINKS, EXACT = "test_recorder_links.py", "test_snapshots_exact.py"
TRAPS = "test_snapshots_trap.py::test_pipes_and_sockets_of_gits_names_stop_nothing"
NO_LINKS = "os.O_NOFOLLOW | os.O_CLOEXEC"
NO_END = Change("recorder/rules.py", "self._end_its_wait(batch)\n", "pass\n")

RECORDED = (
    Protection("recorder: folders that become links", (
        Change("recorder/walk.py", f"os.O_RDONLY | os.O_DIRECTORY | {NO_LINKS}",
               "os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC"),
    ), (LINKS,)),
    Protection("recorder: files that become links", (
        Change("recorder/walk.py", "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
               "os.O_RDONLY | os.O_NONBLOCK"),
    ), (f"{LINKS}::test_a_file_that_becomes_a_link_is_not_read",)),
    Protection("recorder: what is ignored in a folder that goes", (
        Change("recorder/restore.py", "if ignored := [name for name, seen in names.items() if seen is None]:",
               "if ignored := []:"),
    ), (f"{EXACT}::test_what_is_ignored_stays_where_it_is",)),
    Protection("recorder: a checkpoint is asked for once more", (
        Change("snapshots.py", "        except SandboxEnded:\n", "        except ZeroDivisionError:\n"),
    ), ("test_snapshots_again.py::test_a_checkpoint_is_made_all_the_same",)),
    Protection("recorder: nothing is restored twice", (
        Change("snapshots.py", 'self._run if op == "restore" else self._run_again', "self._run_again"),
    ), ("test_snapshots_again.py::test_nothing_is_restored_twice",)),
    Protection("recorder: an id is no option", (
        Change("snapshots.py", 'if len(id) != 40 or not set(id) <= set("0123456789abcdef"):', "if False:"),
    ), ("test_snapshots.py::test_an_id_is_not_an_option",)),
    Protection("recorder: what is saved while it restores", (
        Change("recorder/restore.py", "if change.path.endswith(GITS_OWN):", "if True:"),
    ), (f"{LINKS}::test_a_file_saved_while_others_are_restored_stays",
        f"{LINKS}::test_a_file_made_where_one_comes_back_stays")),
    *(
        Protection(f"recorder: permissions: {name}", (Change(file, text, instead),), (f"{LINKS}::{test}",))
        for name, file, text, instead, test in (
            ("of what was recorded", "recorder/restore.py",
             "if status.st_ino not in self._retimed and not self._is_recorded(path, status):", "if False:",
             "test_no_other_file_is_given_its_permissions[permissions alone-sandboxed]"),
            ("of what was written", "recorder/restore.py", "self._written.add(path)", "pass",
             "test_no_other_file_is_given_its_permissions[written-sandboxed]"),
            ("to its owner alone", "recorder/restore.py", "if same and not mode & stat.S_ISUID:", "if same:",
             "test_a_program_that_comes_back_for_its_owner_is_the_recorded_one"),
            ("of a folder", "recorder/restore.py", "opened = os.open(name, os.O_PATH | OPEN_FOLDER,",
             "opened = os.open(name, os.O_PATH,", "test_no_file_is_given_the_permissions_of_a_folder"),
            ("set-user-id programs are not opened up", "recorder/access.py", " or as_its_owner or ", " or ",
             "test_a_set_user_id_program_is_not_opened_up_to_be_read[2249]"),
        )
    ),
    Protection("recorder: a pipe in the place of a list of ignored names", (
        Change("recorder/walk.py", 'if ".gitignore" in found:', "if False:"),
    ), (f"{TRAPS}[pipe gitignore]",), (NO_END,), ends_in_time=True),
    Protection("recorder: a pipe that is closed to writing", (
        Change("recorder/rules.py", "with allowed(name, folder, status, stat.S_IRUSR | stat.S_IWUSR):",
               "with contextlib.suppress(OSError):"),
    ), (f"{TRAPS}[pipe gitignore, read-only]",), ends_in_time=True),
    Protection("recorder: a pipe that is made meanwhile", (NO_END,), (
        "test_pipes.py::test_a_pipe_made_while_a_tree_is_recorded",
        "test_pipes.py::test_a_pipe_made_while_files_are_restored",
    ), ends_in_time=True),
    Protection("recorder: pipes in a git folder inside", (
        Change("recorder/rules.py", '("HEAD", "config", "config.worktree", "commondir", "index")', "()"),
    ), (f"{TRAPS}[pipe config]", f"{TRAPS}[pipe HEAD]", f"{TRAPS}[pipe index]"), ends_in_time=True),
    Protection("recorder: no attributes of the tree", (
        Change("recorder/patch.py", "cwd=self._objects, ", ""),
    ), (f"{TRAPS}[pipe attributes]",), ends_in_time=True),
    Protection("git waits for no pipe of its names", (
        Change("inside/awaited_pipes.py", "if _end(pipe)]", "if False]"),
    ), ("test_snapshots_trap.py::test_no_pipe_holds_up_a_listing_or_the_git_service",
        "test_pipes.py::test_a_commit_waits_for_no_pipe[.gitattributes-644]"), ends_in_time=True),
    Protection("git waits for no pipe where a pointer leads", (
        Change("inside/awaited_pipes.py", 'any(entry.name == "HEAD" for entry in found)',
               '{"HEAD", "objects", "refs"} <= {entry.name for entry in found}'),
    ), ("test_snapshots_trap.py::test_no_pipe_holds_up_a_listing_or_the_git_service"
        "[HEAD of what a pointer names]",), ends_in_time=True),
    Protection("git waits for no pipe that another user writes", (
        Change("inside/awaited_pipes.py", "_end_children()\n                return", "return"),
    ), ("test_pipes.py::test_git_is_ended_where_it_may_wait_for_somebody_else",), ends_in_time=True),
)  # fmt: skip
