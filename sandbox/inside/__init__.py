"""What runs inside a sandbox. Standard library only, started by whatever Python Ostro runs on.

`serve` is the supervisor: one in each sandbox, it starts each command through a `keeper`, which gives the
command `namespaces` of its own, lets it `confine` itself and watches what it uses.
"""
