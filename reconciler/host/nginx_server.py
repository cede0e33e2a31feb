"""A running nginx whose part of the configuration is the reconciler's: tested aside, put in place whole, proven live.

Every writing gets a name of its own, the generation, which nginx answers on a control socket. It is written before
the files that belong to it: whatever instant the agent is killed at, a generation on disk that differs from the one
that nginx answers says that nginx has yet to read the files.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from reconciler.host.daemons import refuse_unusable_root
from reconciler.host.files import remove_tree, tail_of, temporary_sibling, write_whole
from reconciler.host.layout import SOCKET_PATH_BYTES, Layout
from reconciler.host.nginx_binary import capabilities
from reconciler.host.nginx_process import answered_generation, complaint, serving_workers
from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, HostError, ReconcilerError, StageFailed

TEST_SECONDS = 60.0
RELOAD_SECONDS = 10.0
START_SECONDS = 10.0
POLL_SECONDS = 0.01
SITE_MODE = 0o644
CONFIGURATION_MODE = 0o600
PAIR_MODE = 0o600
TOKEN_PATTERN = r"[A-Za-z0-9_-]{8,128}"  # noqa: S105 - what a token looks like, not one
# two log files per site are open at once, more than the usual soft limit of 1024 for some hundred sites
WITH_ALL_FILES = ("/bin/sh", "-c", 'ulimit -S -n "$(ulimit -H -n)" 2>/dev/null; exec "$@"', "sh")


class NginxServer(ABC):
    """What the profiles have in common; how nginx is started, reloaded and given its main file is theirs.

    ``token`` is what a request must carry in ``Reconciler-Probe`` to be told which release answered. Changes are
    given as file names below ``sites`` (``blog.conf``) with their content, or ``None`` for a file that goes.
    """

    def __init__(self, layout: Layout, binary: Path, token: str, error_log: Path) -> None:
        refuse_unusable_root(layout.root)
        if not re.fullmatch(TOKEN_PATTERN, token):
            raise ValueError("a token has 8 to 128 letters, digits, '_' and '-'")
        self.layout = layout
        self.binary = binary
        self.token = token
        self.configuration = layout.nginx_main
        self.generation_file = layout.nginx / "generation.conf"
        self.error_log = error_log
        self.control = layout.nginx_control
        # apps are applied side by side, and each change is proven by the generation that it makes
        self._changing = threading.RLock()
        if len(str(self.control).encode()) > SOCKET_PATH_BYTES:
            raise HostError(
                f"{self.control} is longer than the {SOCKET_PATH_BYTES} bytes of a socket's path",
                hint="choose a shorter root",
            )

    def capabilities(self) -> frozenset[str]:
        """What the binary was built with, such as ``gzip_static``, ``http2`` and ``version:1.31.3``."""
        return capabilities(self.binary, self.layout.cache / "nginx-capabilities.json")

    def running(self) -> bool:
        """Whether nginx's master process is there."""
        return self._master() is not None

    def current(self) -> bool:
        """Whether nginx runs and has read what was last written."""
        generation = self._generation_on_disk()
        return self.running() and generation is not None and answered_generation(self.control) == generation

    def test(self, changes: Mapping[str, str | None]) -> None:
        """Let nginx judge the whole tree as it would be with ``changes``; nothing live is touched.

        Raises :class:`StageFailed` with nginx's own sentence, the file and the line.
        """
        with self._changing, self._candidate(changes) as folder:
            command = [*WITH_ALL_FILES, str(self.binary), "-t", "-q", *self._test_arguments(folder)]
            if "error_log_argument" in self.capabilities():
                command += ["-e", "stderr"]
            try:
                run(command, timeout=TEST_SECONDS, what="nginx -t")
            except CommandFailed as error:
                sentence = complaint(error.tail, folder) or str(error)
                raise StageFailed(
                    f"nginx refuses the configuration: {sentence}",
                    hint="nothing was changed; correct the manifest or the template",
                    tail=error.tail.replace(f"{folder}/", ""),
                ) from error

    def test_pair(self, text: str, certificate: Path) -> None:
        """Let nginx judge a certificate and its key by themselves; ``certificate`` is where they came from.

        Raises :class:`HostError` with nginx's own sentence.
        """
        self.layout.nginx.mkdir(parents=True, exist_ok=True)
        folder = temporary_sibling(self.layout.nginx / "pair")
        folder.mkdir(mode=0o700)
        try:
            write_whole(folder / "pair.pem", text, mode=PAIR_MODE)
            (folder / "nginx.conf").write_text(pair_test_text(folder, self.capabilities()))
            command = [str(self.binary), "-t", "-q", "-p", f"{folder}/", "-c", str(folder / "nginx.conf")]
            if "error_log_argument" in self.capabilities():
                command += ["-e", "stderr"]
            run(command, timeout=TEST_SECONDS, what="nginx -t")
        except CommandFailed as error:
            sentence = complaint(error.tail, folder) or str(error)
            raise HostError(
                f"nginx refuses the certificate {certificate}: {sentence}",
                hint="correct the files; a pair that was kept before goes on serving",
            ) from error
        finally:
            remove_tree(folder)

    def install(self, changes: Mapping[str, str | None], pairs: Mapping[str, str] | None = None) -> bool:
        """Put ``changes`` in place and have nginx serve them; return whether anything had to be done.

        ``pairs`` are certificates with their keys that take the place of what apps are served with.
        Raises :class:`HostError` when the address is taken, before anything is touched, and :class:`StageFailed`
        when nginx does not take the new files: the old ones are back in place then, and live.
        """
        with self._changing:
            return self._install(changes, pairs or {})

    def _install(self, changes: Mapping[str, str | None], pairs: Mapping[str, str]) -> bool:
        wanted: dict[Path, str | None] = {self.layout.pair(app): text for app, text in pairs.items()}
        wanted |= {self.layout.sites / name: content for name, content in changes.items()}
        wanted[self.configuration] = self._main(changes)
        before = {path: content_of(path) for path in wanted}
        different = {path: content for path, content in wanted.items() if before[path] != content}
        for path, content in wanted.items():
            if content is not None and path not in different:
                # what nginx reads is the same: only mode or owner may be another
                write_whole(path, content, mode=self._mode_of(path))
        if not different and self.current():
            return False
        self._before_change(different)
        self._write(different)
        try:
            self._make_live()
        except ReconcilerError as error:
            self._put_back({path: before[path] for path in different})
            if isinstance(error, HostError):
                raise
            raise StageFailed(error.message, hint=error.hint, tail=getattr(error, "tail", "")) from error
        return True

    def ensure_running(self) -> bool:
        """Have nginx run with what is on disk; return whether it had to be started or reloaded."""
        return self.install({})

    # what a profile adds

    @abstractmethod
    def stop(self) -> bool:
        """End nginx after the requests that it is answering; ``False`` when it did not run."""

    @abstractmethod
    def _master(self) -> int | None:
        """The master process."""

    @abstractmethod
    def _main(self, changes: Mapping[str, str | None]) -> str:
        """The text of the main file once ``changes`` are made."""

    @abstractmethod
    def _candidate(self, changes: Mapping[str, str | None]) -> contextlib.AbstractContextManager[Path]:
        """A folder beside the live files that holds what they would be."""

    @abstractmethod
    def _test_arguments(self, folder: Path) -> list[str]:
        """What leads ``nginx -t`` to a candidate."""

    @abstractmethod
    def _before_change(self, different: Mapping[Path, str | None]) -> None:
        """Raise :class:`HostError` when nginx could not take the change, before anything is touched."""

    @abstractmethod
    def _start(self) -> None:
        """Start nginx, which does not run."""

    @abstractmethod
    def _reload(self) -> None:
        """Have the running nginx read its files again."""

    # putting in place

    def _write(self, files: Mapping[Path, str | None]) -> None:
        self.layout.sites.mkdir(parents=True, exist_ok=True)
        write_whole(self.generation_file, generation_text(os.urandom(8).hex()))
        for path, content in files.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                write_whole(path, content, mode=self._mode_of(path))

    def _mode_of(self, path: Path) -> int:
        if path.parent == self.layout.pairs:
            return PAIR_MODE
        return CONFIGURATION_MODE if path == self.configuration else SITE_MODE

    def _make_live(self) -> None:
        """Start or reload nginx, and return when only processes that read the files on disk take requests."""
        offset = self.error_log.stat().st_size if self.error_log.exists() else 0
        master = self._master()
        if master is None:
            self._start()
            self._await_generation(offset, frozenset(), START_SECONDS)
        else:
            old_workers = serving_workers(master)
            self._reload()
            self._await_generation(offset, old_workers, RELOAD_SECONDS)

    def _await_generation(self, offset: int, old_workers: frozenset[int], seconds: float) -> None:
        generation = self._generation_on_disk()
        deadline = time.monotonic() + seconds
        while True:
            master = self._master()
            if (
                master is not None
                and answered_generation(self.control) == generation
                # for a moment the old workers answer beside the new ones
                and not old_workers & serving_workers(master)
            ):
                return
            said = tail_of(self.error_log, since=offset)
            sentence = complaint(said, self.layout.nginx)
            if master is None or sentence:
                raise StageFailed(
                    f"nginx does not serve the new configuration: {sentence or 'it has ended'}",
                    hint=f"see {self.error_log}",
                    tail=said,
                )
            if time.monotonic() >= deadline:
                # a busy host is slow with any configuration
                raise HostError(
                    f"nginx does not answer with the new configuration within {seconds:g} s",
                    hint=f"the old one is back in place, and the next pass tries again; see {self.error_log}",
                )
            time.sleep(POLL_SECONDS)

    def _put_back(self, files: Mapping[Path, str | None]) -> None:
        self._write(files)
        # the first failure is the one to report; whether the old files are live shows in the next pass at the latest
        if self.running():
            with contextlib.suppress(ReconcilerError):
                self._make_live()

    def _generation_on_disk(self) -> str | None:
        match = re.search(r'"(\w+)\\n"', content_of(self.generation_file) or "")
        return match[1] if match else None


def pair_test_text(folder: Path, features: frozenset[str]) -> str:
    """A configuration with one certificate and nothing else, for a test alone in ``folder``."""
    modules = ("client_body", *(name for name in ("uwsgi", "proxy", "fastcgi", "scgi") if name in features))
    temporary = "".join(f'{name}_temp_path "{folder}/{name}";\n' for name in modules)
    return (
        f'pid "{folder}/pid";\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}'
        f'server {{\nlisten "unix:{folder}/s" ssl;\n'
        f'ssl_certificate "{folder}/pair.pem";\nssl_certificate_key "{folder}/pair.pem";\n}}\n}}\n'
    )


def generation_text(generation: str) -> str:
    """What answers the generation, as a part of a server of nginx."""
    return f'return 200 "{generation}\\n";\n'


def content_of(path: Path) -> str | None:
    """The text of a file; ``None`` when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
