"""What `--allow-network` opens and nothing beyond it, and what git may not start for Ostro."""

from __future__ import annotations

from bench.protections.changing import ALONE, BOX, Change, Protection

ALLOWED, PROXY, REQUEST, OUTBOUND = "allowed.py", "proxy.py", "proxy_request.py", "outbound.py"
NETWORK, BRIDGE, GIT_SERVICE = "network.py", "inside/proxy_bridge.py", "inside/git_service.py"
LISTED, PROXIED, ONLINE = "test_allowed.py", "test_proxy.py", "test_network.py"
BRIDGED, COMMITTED, WEAKEST = "test_proxy_bridge.py", "test_git_service.py", "test_tier_c.py"

SPELLED = (f"{PROXIED}::test_other_spellings_of_an_address_are_no_host",)
TWO_READERS = (f"{PROXIED}::test_what_two_readers_might_read_differently_is_refused",)
LEADS_INWARDS = (f"{LISTED}::test_addresses_that_no_name_may_lead_to",)
CLOSED = (
    "an unspecified address", "a link-local address", "an address of a private network",
    "a multicast or reserved address",
)  # fmt: skip
NOTHING_STARTS = f"{COMMITTED}::test_nothing_of_the_configuration_runs"
QUIETLY = "test_git_service_quiet.py::test_nothing_is_started"

OPENED = (
    Protection("proxy: the list", (
        Change(PROXY, "if not self.allowed.names(target):", "if False:"),
    ), (f"{PROXIED}::test_what_is_not_on_the_list_is_denied",)),
    Protection("proxy: the list, from inside", (
        Change(PROXY, "if not self.allowed.names(target):", "if False:"),
    ), (f"{ONLINE}::test_other_hosts_are_denied_and_the_flag_is_named",)),
    Protection("proxy: ports", (
        Change(ALLOWED, "if target.port not in self.ports:", "if False:"),
    ), (LISTED,)),
    Protection("proxy: names below a name", (
        Change(ALLOWED, 'target.host.endswith(f".{self.host}")', "target.host.endswith(str(self.host))"),
    ), (LISTED,)),
    Protection("proxy: names that lead inwards", (
        Change(OUTBOUND, "if kind := self._allowed.closed(address, target.port):", "if kind := None:"),
    ), (f"{PROXIED}::test_a_name_that_leads_inwards_is_denied",)),
    Protection("proxy: what was checked is connected to", (
        Change(OUTBOUND, "_open(str(address), target.port), address)",
               "_open(str(target.host), target.port), address)"),
    ), (f"{PROXIED}::test_what_was_checked_is_what_is_connected_to",)),
    *(
        Protection(f"proxy: {kind}", (Change(ALLOWED, f'"{kind}": (', f'"{kind}": () and ('),), LEADS_INWARDS)
        for kind in CLOSED
    ),
    Protection("proxy: an address of this machine", (
        Change(ALLOWED, '"127.0.0.0/8", "::1/128"', ""),
    ), LEADS_INWARDS, (Change(ALLOWED, "return found\n", "return set()\n"),)),
    Protection("proxy: outer addresses of this machine", (
        Change(ALLOWED, "if address in _own_addresses()", "if False"),
    ), (f"{LISTED}::test_no_name_leads_to_this_machine_by_its_outer_address",)),
    Protection("proxy: IPv4 in IPv6", (
        Change(ALLOWED, "    inner = _embedded(host)\n", "    inner = None\n"),
    ), LEADS_INWARDS),
    Protection("proxy: numbers that some read as an address", (
        Change(ALLOWED, "if _NUMBER.fullmatch(labels[-1]):", "if False:"),
    ), SPELLED),
    Protection("proxy: signs of a name", (
        Change(ALLOWED, " or not all(_LABEL.fullmatch(label) for label in labels)", ""),
    ), SPELLED),
    Protection("proxy: unclear headers", (
        Change(REQUEST, "if _UNCLEAR.search(head):", "if False:"),
    ), TWO_READERS),
    Protection("proxy: a body of CONNECT", (
        Change(REQUEST, 'if framing and request.method == b"CONNECT":', "if False:"),
    ), TWO_READERS),
    Protection("proxy: time for a header", (
        Change(REQUEST, "asyncio.timeout(HEAD_WITHIN)", "asyncio.timeout(None)"),
    ), (f"{PROXIED}::test_a_huge_header_and_one_that_never_ends",), ends_in_time=True),
    Protection("proxy: connections at once", (
        Change(PROXY, "if len(self._serving) > MOST_CONNECTIONS:", "if False:"),
    ), (f"{PROXIED}::test_too_many_connections_are_turned_away",)),
    Protection("proxy: its socket is the user's", (
        Change(PROXY, "path.chmod(0o600)", "path.chmod(0o666)"),
    ), (f"{PROXIED}::test_only_its_owner_reaches_the_socket",)),
    Protection("proxy: indexes that hold a password", (
        Change(NETWORK, 'any(sign in value for sign in "@?")', "False"),
    ), (f"{ONLINE}::test_no_secret_of_the_caller_is_inside",)),
    Protection("proxy: certificates that hold a key", (
        Change(NETWORK, ' and b"PRIVATE KEY" not in content', ""),
    ), (f"{ONLINE}::test_no_secret_of_the_caller_is_inside",)),
    Protection("bridge: nothing before the proxy agrees", (
        Change(BRIDGE, 'head.split(b" ")[1:2] == [b"200"]', "True"),
    ), (f"{BRIDGED}::test_a_port_that_the_proxy_refuses_is_closed_at_once",)),
)  # fmt: skip

ASKED_OF_GIT = (
    Protection("git service: file system monitor", (
        Change(GIT_SERVICE, '"core.fsmonitor": "false", ', ""),
    ), (f"{QUIETLY}[monitor]",)),
    Protection("git service: hooks", (
        Change(GIT_SERVICE, '"core.hooksPath": "/dev/null", ', ""),
    ), (NOTHING_STARTS,)),
    Protection("git service: no home folder", (
        Change(GIT_SERVICE, '"HOME": "/dev/null", "XDG_CONFIG_HOME": "/dev/null",', ""),
    ), ("test_attack_git_aside.py::test_what_lies_in_the_home_folder_changes_no_commit",)),
    Protection("git service: filters", (
        Change(GIT_SERVICE, 'PROGRAMS = r"^(filter', 'PROGRAMS = r"^(no-filter'),
    ), (f"{QUIETLY}[filter]", f"{QUIETLY}[process]")),
    Protection("git service: what a filter would store", (
        Change(GIT_SERVICE, 'if drivers[path] not in ("unspecified", "unset", "set")', "if False"),
    ), (f"{COMMITTED}::test_what_a_filter_would_store_is_not_committed",)),
    Protection("git service: what is not looked at", (
        Change(GIT_SERVICE, 'if (e[0] == "S" or e[0].islower()) and', "if False and"),
    ), (f"{COMMITTED}::test_a_file_that_git_is_told_not_to_look_at",)),
    Protection("git service: a branch that moved", (
        Change(GIT_SERVICE, "!= (branch, parent):\n            raise",
               "!= (branch, parent) and False:\n            raise"),
    ), (f"{COMMITTED}::test_a_branch_that_moved",)),
    Protection("git service: the index lock", (
        Change(GIT_SERVICE, "os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666",
               "os.O_CREAT | os.O_CLOEXEC, 0o666"),
    ), (f"{COMMITTED}::test_another_git_at_work",)),
)  # fmt: skip

NO_WEAK_PROBE = Change(
    BOX, 'return set(done.stdout.text().splitlines()) - {"writable mounts", "network"}', "return set()"
)

ON_ITS_OWN = (
    Protection("tier C: no sockets", (
        Change(BOX, "seccomp.program(sockets=False)", "seccomp.program()"),
    ), (f"{WEAKEST}::test_no_network", f"{WEAKEST}::test_no_sockets_of_any_kind"), (NO_WEAK_PROBE,)),
    # Not all of the machine: a mutant is root there.
    Protection("tier C: what is written", (
        Change(ALONE, "return [*mounted, str(self.private), *DEVICES]",
               'return [*mounted, str(self.private), *DEVICES, "/srv", "/opt", "/var/lib"]'),
    ), (f"{WEAKEST}::test_files_outside_stay",), (NO_WEAK_PROBE,)),
    Protection("tier C: what is read", (
        Change(ALONE, "return [*SYSTEM,", 'return ["/", *SYSTEM,'),
    ), (f"{WEAKEST}::test_home_and_environment_are_hidden",)),
    # Not its signals: what ends a command signals all that it may.
    Protection("tier C: masked files", (
        Change(ALONE, "if os.path.realpath(entry.path) not in hidden]", "]"),
    ), ("test_tier_c_masked.py",)),
)  # fmt: skip
