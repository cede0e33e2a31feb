"""The distribution's nginx, run by systemd: one file in ``conf.d`` brings the reconciler's part into it."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import grp
import posixpath
import pwd
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from reconciler.host.files import remove_tree, temporary_sibling
from reconciler.host.nginx_server import NginxServer, content_of, generation_text
from reconciler.host.ports import holder_of, refuse_taken
from reconciler.host.system_layout import SystemLayout
from reconciler.host.systemd import Unit
from reconciler.model.errors import HostError

UNIT = "nginx.service"
DEFAULT_ACCOUNT = "www-data"
DEFAULT_ERROR_LOG = "var/log/nginx/error.log"
CANDIDATE = "candidate"
_INCLUDE = re.compile(r"""^(?P<before>\s*)include\s+(?P<quote>["']?)(?P<glob>[^"';]+)(?P=quote)\s*;""", re.MULTILINE)
_LISTEN = re.compile(r"""^\s*listen\s+"?(?P<address>[^\s";]+)"?(?P<options>[^;]*);""", re.MULTILINE)


class SystemNginx(NginxServer):
    """nginx as the distribution packages it: its own nginx.conf, its own unit, its own account."""

    layout: SystemLayout

    def __init__(self, layout: SystemLayout, binary: Path, token: str, unit: Unit | None = None) -> None:
        self._home = layout.nginx_home
        main = content_of(layout.nginx_home / "nginx.conf") or ""
        super().__init__(layout, binary, token, _error_log(main, layout))
        self._unit = unit or Unit(UNIT)

    def capabilities(self) -> frozenset[str]:
        """What the binary was built with, and ``ipv6`` where this host has it."""
        return super().capabilities() | ({"ipv6"} if _has_ipv6() else frozenset())

    def group(self) -> int:
        """The group of nginx's workers."""
        found = re.search(r"^\s*user\s+([\w.-]+)(?:\s+([\w.-]+))?\s*;", self._own_main(), re.MULTILINE)
        account, group = (found[1], found[2]) if found else (DEFAULT_ACCOUNT, None)
        with contextlib.suppress(KeyError):
            return grp.getgrnam(group).gr_gid if group else pwd.getpwnam(account).pw_gid
        raise HostError(f"nginx runs as {account}, and this host has no such account", hint="install nginx")

    def stop(self) -> bool:
        """Stop nginx's unit, and with it every site of this host."""
        return self._unit.stop()

    def _master(self) -> int | None:
        return self._unit.pid()

    def _start(self) -> None:
        # left over by an nginx that was killed; a socket file cannot be bound twice
        self.control.unlink(missing_ok=True)
        self._unit.start()

    def _reload(self) -> None:
        self._unit.reload()

    def _before_change(self, different: Mapping[Path, str | None]) -> None:
        self.layout.nginx_main.parent.mkdir(parents=True, exist_ok=True)
        if not self.running():
            return
        live_texts = [content_of(self.configuration) or "", *self._sites({}).values()]
        wanted_texts = [text for path, text in different.items() if text is not None and path.suffix == ".conf"]
        for tls in (False, True):
            for address in _addresses(wanted_texts, tls=tls).keys() - _addresses(live_texts, tls=tls).keys():
                _refuse_taken(address)

    # the main file

    def _own_main(self) -> str:
        return content_of(self._home / "nginx.conf") or ""

    def _main(self, changes: Mapping[str, str | None]) -> str:
        return self._drop_in(self._sites(changes), self.layout.nginx)

    def _sites(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """The text of every site file once ``changes`` are made."""
        names = {path.name for path in self.layout.sites.glob("*.conf")} | changes.keys()
        texts = {name: changes.get(name) if name in changes else self._live(name) for name in sorted(names)}
        return {name: text for name, text in texts.items() if text is not None}

    def _live(self, name: str) -> str | None:
        return content_of(self.layout.sites / name)

    def _drop_in(self, sites: Mapping[str, str], folder: Path) -> str:
        # imported only where a pass changes something, so that one without work never loads Jinja2
        from reconciler.host.nginx_configuration import drop_in  # noqa: PLC0415

        plain = _without_default(_addresses(sites.values()))
        secure = _without_default(_addresses(sites.values(), tls=True))
        refusing = sorted(secure) if "ssl_reject_handshake" in self.capabilities() else ()
        return drop_in(folder, self.token, self.control, tuple(sorted(plain)), tuple(refusing))

    # the candidate

    @contextlib.contextmanager
    def _candidate(self, changes: Mapping[str, str | None]) -> Iterator[Path]:
        """The reconciler's files as they would be, and a copy of nginx.conf that includes them in place of the live.

        The copy lies beside the original, because nginx looks for relative names in the folder of its main file.
        """
        self.layout.nginx.mkdir(parents=True, exist_ok=True)
        folder = temporary_sibling(self.layout.nginx / CANDIDATE)
        main = self._home / f"{folder.name}.conf"
        folder.mkdir(mode=0o700)
        try:
            (folder / "sites").mkdir()
            sites = self._sites(changes)
            for name, text in sites.items():
                (folder / "sites" / name).write_text(text, encoding="utf-8")
            (folder / "generation.conf").write_text(generation_text(CANDIDATE))
            (folder / "reconciler.conf").write_text(self._drop_in(sites, folder))
            main.write_text(self._replacing_drop_in(folder / "reconciler.conf"), encoding="utf-8")
            yield folder
        finally:
            main.unlink(missing_ok=True)
            remove_tree(folder)

    def refuse_without_include(self) -> None:
        """Raise :class:`HostError` when nginx.conf does not bring the reconciler's file in."""
        self._replacing_drop_in(self.configuration)

    def _test_arguments(self, folder: Path) -> list[str]:
        return ["-c", str(self._home / f"{folder.name}.conf")]

    def _replacing_drop_in(self, candidate: Path) -> str:
        """nginx.conf with the include that brings our file in written out, and the candidate in our file's place."""
        replaced = 0

        def written_out(match: re.Match[str]) -> str:
            nonlocal replaced
            pattern = posixpath.join(self._home, match["glob"].strip())
            if not fnmatch.fnmatchcase(str(self.configuration), pattern):
                return match[0]
            replaced += 1
            found = set(glob.glob(pattern)) | {str(self.configuration)}  # noqa: PTH207 - as nginx does
            lines = [str(candidate) if path == str(self.configuration) else path for path in sorted(found)]
            return "\n".join(f'{match["before"]}include "{path}";' for path in lines)

        text = _INCLUDE.sub(written_out, self._own_main())
        if replaced != 1:
            how = "does not include" if not replaced else "includes more than once"
            raise HostError(
                f"{self._home / 'nginx.conf'} {how} {self.configuration}",
                hint=f"have `include {self.configuration.parent}/*.conf;` once in its http block, as Debian has",
            )
        return text


def _error_log(main: str, layout: SystemLayout) -> Path:
    found = re.search(r"""^\s*error_log\s+["']?([^\s"';]+)""", main, re.MULTILINE)
    if found and found[1].startswith("/"):
        return Path(found[1])
    return layout.prefix / DEFAULT_ERROR_LOG


def _addresses(texts: Iterable[str], *, tls: bool = False) -> dict[str, bool]:
    """The addresses that site files listen on, without TLS or with, and whether one of the sites is the default."""
    found: dict[str, bool] = {}
    for text in texts:
        for match in _LISTEN.finditer(text):
            options = match["options"].split()
            if ("ssl" in options) is tls and "quic" not in options and not match["address"].startswith("unix:"):
                found[match["address"]] = found.get(match["address"], False) or "default_server" in options
    return found


def _without_default(addresses: Mapping[str, bool]) -> list[str]:
    return [address for address, has_default in addresses.items() if not has_default]


def _refuse_taken(address: str) -> None:
    """Raise :class:`HostError` when something else than nginx, such as with a site of its own, listens there."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and not (holder_of(int(port)) or "").startswith("nginx "):
        refuse_taken(host.strip("[]") or "0.0.0.0", int(port), hint="set spec.nginx.listen to a free port")  # noqa: S104


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as trial:
            trial.bind(("::", 0))
    except OSError:
        return False
    return True
