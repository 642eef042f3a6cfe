"""What is tried before a sandbox is relied on."""

from __future__ import annotations

from bench.protections.changing import COMMANDS, NO_PROBE, PROBE, TRIED, Change, Protection

ATTEMPTS = {
    "writable mounts": "writable_mounts",
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
