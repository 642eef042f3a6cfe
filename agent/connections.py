"""What commands did on the network: each connection in the journal, and a word on what was denied."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING

from agent.ending import Ending
from agent.events import Warn
from sandbox import Connection

if TYPE_CHECKING:
    from agent.session import Session


class Connections:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._told: set[str] = set()

    def note(self, connection: Connection) -> None:
        """Never raises: where the journal cannot be written, what the run itself writes next says so."""
        with contextlib.suppress(Ending):
            self._session.journal.append("connection", **asdict(connection))
            if not connection.allowed and connection.target not in self._told:
                self._told.add(connection.target)
                why = f"A connection to {connection.target} was denied ({connection.why})"
                self._session.emit(Warn(text=f"{why}; --allow-network {connection.needs} would allow it."))
