"""The filter, step by step as the kernel would take it, and the filter in the kernel."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys

import pytest

from sandbox import seccomp
from sandbox.seccomp import ALLOW, ERRNO, KILL, MACHINES


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Runs the program as a machine for classic BPF does, and sees that it jumps forward only."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * (6 - len(arguments))))
    steps = list(struct.iter_unpack("<HBBI", program))
    loaded = at = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            loaded = struct.unpack_from("<I", data, operand)[0]
            continue
        held = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[code]
        at += if_true if held else if_false


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> tuple[bytes, seccomp.Machine]:
    program = seccomp.program(request.param)
    assert program is not None
    return program, MACHINES[request.param]


def test_every_denied_call_is_denied_and_no_other_call(machine: tuple[bytes, seccomp.Machine]) -> None:
    program, known = machine
    special = {known.clone, known.socket, known.socketpair, known.ioctl, 435, 437}
    for number in range(600):
        if number in special:
            continue
        expected = ERRNO | errno.EPERM if number in known.denied.values() else ALLOW
        assert verdict(program, known.architecture, number) == expected, number


@pytest.fixture(params=MACHINES)
def apart(request: pytest.FixtureRequest) -> tuple[bytes, bytes, seccomp.Machine]:
    """The filter where there are no namespaces, the other one, and what both know of the processor."""
    program, usual = seccomp.program(request.param, sockets=False), seccomp.program(request.param)
    assert program is not None and usual is not None
    return program, usual, MACHINES[request.param]


def test_without_namespaces_nothing_is_shared_and_nothing_done_to_others(
    apart: tuple[bytes, bytes, seccomp.Machine],
) -> None:
    program, usual, known = apart
    denied, missing = ERRNO | errno.EPERM, ERRNO | errno.EOPNOTSUPP
    expected = dict.fromkeys(known.shared.values(), denied) | dict.fromkeys(
        known.attributes.values(), missing
    )
    of_others = {*known.others.values(), *(number for number, _user in known.ranks.values())}
    assert len(known.shared) == 17 and len(known.attributes) == 9 and len(of_others) == 7
    for number in range(600):
        wanted = expected.get(number, verdict(usual, known.architecture, number))
        if number not in {known.socket, known.socketpair}:
            assert verdict(program, known.architecture, number) == wanted, number
        if number in expected:
            assert verdict(usual, known.architecture, number) == ALLOW


def test_without_namespaces_a_process_sets_its_own_limits_alone(
    apart: tuple[bytes, bytes, seccomp.Machine],
) -> None:
    program, usual, known = apart
    denied = ERRNO | errno.EPERM
    for number in known.others.values():
        for process, expected in ((0, ALLOW), (1, denied), (4711, denied), (1 << 32, ALLOW)):
            assert verdict(program, known.architecture, number, process, 4711) == expected
        assert verdict(usual, known.architecture, number, 4711) == ALLOW
    for number, of_a_user in known.ranks.values():
        for kind in range(4):
            # 0 stands for the caller, of a user for all that the caller's user has.
            mine = denied if kind == of_a_user else ALLOW
            assert verdict(program, known.architecture, number, kind, 0, 5) == mine
            assert verdict(program, known.architecture, number, kind, 4711, 0) == denied
            assert verdict(usual, known.architecture, number, kind, 4711, 0) == ALLOW


def test_without_namespaces_only_connected_pairs_are_made(
    apart: tuple[bytes, bytes, seccomp.Machine],
) -> None:
    program, _usual, known = apart
    for family in range(64):
        refused = ERRNO | errno.EAFNOSUPPORT
        assert verdict(program, known.architecture, known.socket, family) == refused
        pair = ALLOW if family in (1, 2, 10, 16) else refused
        assert verdict(program, known.architecture, known.socketpair, family) == pair


MAKE, LOOK, TEMPORARY = 0o102, 0o2, 0o20200002


def test_no_file_is_given_the_set_user_id_bit(machine: tuple[bytes, seccomp.Machine]) -> None:
    program, known = machine
    recorders = seccomp.program("x86_64" if known.foreign_from else "aarch64", set_user_id=True)
    assert recorders is not None
    denied = ERRNO | errno.EPERM
    for number, mode in known.modes.values():
        for bits, expected in ((0o4755, denied), (0o104755, denied), (0o755, ALLOW), (0o2775, ALLOW)):
            arguments = [0] * mode + [bits]
            assert verdict(program, known.architecture, number, *arguments) == expected
            assert verdict(recorders, known.architecture, number, *arguments) == ALLOW
    for number, flags, mode in known.opens.values():
        for how, bits, expected in (
            (MAKE, 0o4755, denied), (TEMPORARY, 0o4755, denied), (LOOK, 0o4755, ALLOW), (MAKE, 0o755, ALLOW),
        ):  # fmt: skip
            arguments = [0o7777] * 6
            arguments[flags], arguments[mode] = how, bits
            assert verdict(program, known.architecture, number, *arguments) == expected
    assert verdict(program, known.architecture, 437) == ERRNO | errno.ENOSYS
    assert verdict(recorders, known.architecture, 437) == ALLOW


def test_clone_makes_threads_and_processes_but_no_namespaces(machine: tuple[bytes, seccomp.Machine]) -> None:
    program, known = machine
    thread, fork = 0x3D0F00, 0x1200011
    assert verdict(program, known.architecture, known.clone, thread) == ALLOW
    assert verdict(program, known.architecture, known.clone, fork) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(program, known.architecture, known.clone, fork | flag) == ERRNO | errno.EPERM
    assert verdict(program, known.architecture, 435, 0) == ERRNO | errno.ENOSYS


def test_sockets_of_four_families_only(machine: tuple[bytes, seccomp.Machine]) -> None:
    program, known = machine
    for number in (known.socket, known.socketpair):
        allowed = {
            family for family in range(64) if verdict(program, known.architecture, number, family) == ALLOW
        }
        assert allowed == {1, 2, 10, 16}
        refused = verdict(program, known.architecture, number, 40)  # vsock, the way to a machine's host
        assert refused == ERRNO | errno.EAFNOSUPPORT
        # The family is an int: what the upper half holds does not matter to the kernel either.
        assert verdict(program, known.architecture, number, (1 << 32) | 40) == refused


def test_nothing_types_into_a_terminal(machine: tuple[bytes, seccomp.Machine]) -> None:
    program, known = machine
    for request in (0x5412, 0x541C, (1 << 32) | 0x5412):
        assert verdict(program, known.architecture, known.ioctl, 0, request) == ERRNO | errno.EPERM
    assert verdict(program, known.architecture, known.ioctl, 0, 0x5413) == ALLOW  # TIOCGWINSZ


def test_other_calling_conventions_are_the_end(machine: tuple[bytes, seccomp.Machine]) -> None:
    program, known = machine
    for foreign in {0x40000003, 0xC000003E, 0xC00000B7} - {known.architecture}:
        assert verdict(program, foreign, 1) == KILL
    if known.foreign_from is not None:
        assert verdict(program, known.architecture, known.foreign_from | 1) == KILL


def test_an_unknown_processor_has_no_filter() -> None:
    assert seccomp.program("mips64") is None


INSTALL = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
program = bytes.fromhex(sys.argv[1])
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]
filter = Filter(len(program) // 8, program)
if len(sys.argv) > 2:
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(filter)) == 0, os.strerror(ctypes.get_errno())
import socket, threading, subprocess
failed = []
for name, family in (("vsock", 40), ("packet", 17), ("alg", 38)):
    try:
        socket.socket(family, socket.SOCK_STREAM if family == 40 else socket.SOCK_RAW if family == 17 else 5)
    except OSError as problem:
        if problem.errno == 97: failed.append(name)
if libc.unshare(0x10000000) != 0: failed.append("unshare")
thread = threading.Thread(target=print); thread.start(); thread.join()
assert subprocess.run(["true"]).returncode == 0
socket.socketpair(); socket.socket(socket.AF_INET).close()
print(" ".join(failed))
"""


@pytest.mark.skipif(seccomp.program() is None, reason="no filter for this processor")
@pytest.mark.parametrize("filtered", [False, True])
def test_the_kernel_takes_the_filter(filtered: bool) -> None:
    program = seccomp.program()
    assert program is not None
    argv = [sys.executable, "-c", INSTALL, program.hex(), *(["on"] if filtered else [])]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    refused = ran.stdout.split()
    if filtered:
        assert {"vsock", "packet", "alg", "unshare"} <= set(refused)
    else:
        assert "unshare" not in refused or os.getuid() != 0
