"""Runs certbot beside the passes of an agent, because an authority may take minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.engine.engine import Engine
from reconciler.host.interruption import Interrupted, Superseded, giving_way
from reconciler.model.trigger import Trigger

END_SECONDS = 3.0
"""How long the end of an engine waits for certbot to be ended."""


@dataclass(slots=True)
class CertbotRuns:
    """Gets certificates for one engine, one after the other; ``trigger`` asks for a pass when there is one."""

    engine: Engine
    trigger: Callable[[str], None]
    _closed: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """See after a look whether certificates are to be had, and get them meanwhile."""
        if self._thread is not None and self._thread.is_alive():
            return
        due = self.engine.certificates_due()
        if due and not self._closed.is_set():
            self._thread = threading.Thread(target=self._run, args=[due], name="certbot", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End what runs; it is begun anew by the next agent."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def _run(self, apps: tuple[str, ...]) -> None:
        try:
            with giving_way(self._closed.is_set):
                for app in apps:
                    self.engine.obtain_certificate(app)
                    self.trigger(Trigger.CERTIFICATE)
        except (Superseded, Interrupted):
            return
