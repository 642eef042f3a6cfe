"""Every protection of the sandbox, and of what stands around it: how to take it out, what covers for it,
which tests are to notice.

A change is a text of a file that is there exactly once, and what stands there instead. `remove` takes the
protection out; `others_off` switches off the layers that would hold in its place, so that a test which still
passes has not looked. `bench.mutation_check` runs the table.

Not in it, because no test could tell: the host name's namespace and that of control groups (without
capabilities neither gives anything away), the demand for a user namespace (without one the supervisor refuses
to start, see "user namespace of its own"), the sandbox's own namespace for processes (without it the
kernel lets nobody mount a /proc), the probe's attempt on a file outside (it tells a sandbox that is none, and
then nothing else is tried), and no_new_privs (bubblewrap sets it too, and without it the kernel lets
nobody without capabilities ask for Landlock or a filter).
"""

from __future__ import annotations

from bench.protections.changing import HOUSE, NO_PROBE, Change, Protection
from bench.protections.confinement import APART, FILTERED, LANDLOCK, LIMITED, RIGHTS
from bench.protections.files import FORKED, GUARDED, RECORDED, SERVED
from bench.protections.leave import LEAVE, SAID
from bench.protections.outward import ASKED_OF_GIT, ON_ITS_OWN, OPENED
from bench.protections.probed import PROBED
from bench.protections.rooms import ENVIRONMENT, LIFE, MOUNTS, NAMESPACES

__all__ = ["NO_PROBE", "PROTECTIONS", "HOUSE", "Change", "Protection"]

PROTECTIONS = (
    *NAMESPACES, *MOUNTS, *ENVIRONMENT, *LIFE, *RIGHTS, *LANDLOCK, *FILTERED, *APART, *LIMITED, *GUARDED,
    *FORKED, *SERVED, *RECORDED, *PROBED, *OPENED, *ASKED_OF_GIT, *ON_ITS_OWN, *LEAVE, *SAID,
)  # fmt: skip
