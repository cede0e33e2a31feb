"""Virtual environments for apps, made by uv with a shared cache, so that a folder can be renamed once it is whole.

uv runs in a scratch folder that holds copies of the app's files: neither the checkout nor what lies above it is read
for settings or written to. Building a source distribution runs code of strangers; it sees only the variables passed.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reconciler.host.confinement import Confinement, run_confined
from reconciler.host.files import remove_tree
from reconciler.host.interpreters import HostInterpreter, uv_binary
from reconciler.host.ownership import give
from reconciler.model.errors import CommandFailed, CommandTimedOut, Retry, StageFailed
from reconciler.model.installer_output import failure_sentence, unreachable_index
from reconciler.model.requirement_files import without_editable, without_password
from reconciler.model.requirements import Closure, Kind

PYUWSGI_REQUIREMENT = "pyuwsgi>=2.0.30,<2.1"
"""The uWSGI that every environment gets when the app brings none: each app runs on uWSGI of its own Python."""

UWSGI_REQUIREMENT = "uwsgi>=2.0.30,<2.1"
"""What is compiled where there is no wheel for an interpreter."""

PASSED_VARIABLES = (
    "PATH", "LANG", "LC_ALL",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY",
    "UV_FIND_LINKS", "UV_INSECURE_HOST", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_OFFLINE", "UV_CONFIG_FILE",
    "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_BUILDS", "UV_CONCURRENT_INSTALLS",
)  # fmt: skip
"""All that uv, and the code of strangers that it runs to build packages, sees of the agent's own environment."""

_PIP_VARIABLES = {
    "PIP_INDEX_URL": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "PIP_EXTRA_INDEX_URL": ("UV_EXTRA_INDEX_URL", "UV_INDEX"),
    "PIP_FIND_LINKS": ("UV_FIND_LINKS",),
    "PIP_TRUSTED_HOST": ("UV_INSECURE_HOST",),
    "PIP_CERT": ("SSL_CERT_FILE",),
}
"""pip's name, then the name under which uv gets it; it is left out when any of uv's own names is set."""

# a line of uv that names a folder which is gone when it is read
_NEWS = re.compile(r"^Using Python .*\n", re.MULTILINE)
_COMMA_SEPARATED = frozenset({"UV_FIND_LINKS"})

# the scratch folder's own settings end uv's search for settings and workspaces in the folders above it
_GUARD = "[tool.uv.workspace]\nmembers = []\n"


def uv_environment(base: Mapping[str, str], cache: Path, scratch: Path) -> dict[str, str]:
    """The environment for uv: those of :data:`PASSED_VARIABLES` that ``base`` has, and pip's in their place.

    ``scratch`` becomes the home and the folder for temporary files; it must exist while uv runs.
    """
    variables = {name: base[name] for name in PASSED_VARIABLES if base.get(name)}
    for name, (ours, *others) in _PIP_VARIABLES.items():
        if base.get(name) and not any(variables.get(other) for other in (ours, *others)):
            separator = "," if ours in _COMMA_SEPARATED else " "
            variables[ours] = separator.join(base[name].split())
    return variables | {"HOME": str(scratch), "TMPDIR": str(scratch), "UV_CACHE_DIR": str(cache)}


def python_of(environment: Path) -> Path:
    """The interpreter of an environment."""
    return environment / "bin" / "python"


def uwsgi_of(environment: Path) -> Path:
    """The uWSGI of an environment: the script of the wheel, or the binary of an app that compiles its own."""
    script = environment / "bin" / "pyuwsgi"
    return script if script.exists() else environment / "bin" / "uwsgi"


def build_environment(
    destination: Path,
    *,
    interpreter: HostInterpreter,
    closure: Closure,
    source: Path | None,
    uwsgi: str | None,
    cache: Path,
    timeout: float,
    on_line: Callable[[str], None] | None,
    env: Mapping[str, str],
    confinement: Confinement,
) -> None:
    """Make the virtual environment ``destination``, which must be missing or empty and can be renamed afterwards.

    ``source`` is the app's checkout, needed where the closure says so; it is copied, never written. ``uwsgi`` is
    installed unless it is ``None`` or the requirements bring uWSGI. ``timeout`` is in seconds and holds for each run
    of uv. ``env`` is all that uv sees, made by :func:`uv_environment`. ``on_line`` sees every line that uv prints,
    passwords masked. With an account in ``confinement`` uv runs as that account, which then owns ``destination`` and
    the home that ``env`` names.

    Raises :class:`StageFailed` with one sentence that names the requirement, retried with the next pass where the
    package index did not answer, and :class:`CommandTimedOut`.
    """
    if closure.needs_source and source is None:
        raise ValueError(f"{closure.entry} installs from the app's folder, which was not given")
    account = confinement.account
    # versions of uv differ in what they do to a folder that has something in it
    if destination.exists() and any(destination.iterdir()):
        raise ValueError(f"{destination} is not empty")
    # resolved, because uv reports real paths and a scratch name in a sentence would help nobody
    scratch = Path(tempfile.mkdtemp(prefix="environment-", dir=env.get("TMPDIR"))).resolve()
    try:
        (scratch / "pyproject.toml").write_text(_GUARD)
        work = scratch / "app"
        _lay_out(work, closure, source)
        cache.mkdir(parents=True, exist_ok=True)
        destination.parent.mkdir(parents=True, exist_ok=True)
        if account is not None:
            destination.mkdir(exist_ok=True)
            give(destination, account)
            give(Path(env["HOME"]), account)
        uv = _Uv(destination.absolute(), interpreter, cache.absolute(), work, timeout, on_line, env, confinement)
        uv.make()
        uv.install(closure)
        if uwsgi is not None:
            uv.add_uwsgi(uwsgi)
    finally:
        remove_tree(scratch)


def _lay_out(work: Path, closure: Closure, source: Path | None) -> None:
    """Copy what uv needs: the whole source where something in it gets installed, else only the closure's files."""
    if closure.needs_source and source is not None:
        shutil.copytree(source, work, symlinks=True, ignore=partial(_left_out, source.resolve()))
    work.mkdir(exist_ok=True)
    for name, content in closure.files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # a link of the checkout must not lead the write to another place
        path.unlink(missing_ok=True)
        path.write_bytes(without_editable(content) if closure.kind is Kind.REQUIREMENTS else content)


def _left_out(source: Path, folder: str, names: list[str]) -> set[str]:
    """What uv must not see: it follows links, and would install what lies elsewhere on the host; it opens pipes."""
    left = {".git"} & set(names)
    for name in names:
        path = Path(folder, name)
        if path.is_symlink():
            if not Path(os.path.realpath(path)).is_relative_to(source):
                left.add(name)
        elif not path.is_file() and not path.is_dir():
            left.add(name)
    return left


@dataclass(frozen=True, slots=True)
class _Uv:
    """uv at work on one environment."""

    destination: Path
    interpreter: HostInterpreter
    cache: Path
    work: Path
    timeout: float
    on_line: Callable[[str], None] | None
    env: Mapping[str, str]
    confinement: Confinement

    def make(self) -> None:
        options = ("--relocatable", "--no-project", "--python", str(self.interpreter.executable))
        try:
            self.run(
                "venv", *options, str(self.destination), entry=f"an environment of Python {self.interpreter.version}"
            )
        except StageFailed as error:
            error.hint = f"run `reconciler doctor`, which tries {self.interpreter.executable}"
            raise

    def install(self, closure: Closure) -> None:
        entry = closure.entry
        if entry is None:
            return
        folder = self.work / posixpath.dirname(entry)
        if closure.kind is Kind.UV_LOCK:
            # --python wins over a .python-version of the app, which would replace the environment
            options = (
                "--frozen",
                "--no-dev",
                "--no-editable",
                "--active",
                "--python",
                str(python_of(self.destination)),
            )
            self.run("sync", *options, *self._installing(), entry=entry, cwd=folder)
        elif closure.kind is Kind.PYPROJECT:
            what = (".",) if closure.needs_source else ("--requirements", "pyproject.toml")
            self.pip_install(*what, entry=entry, cwd=folder)
        elif closure.requires_hashes:
            # everything is pinned, so the cache gives the same answer as the index, which need not be up
            self.offline_first("--require-hashes", "--requirements", entry, entry=entry)
        else:
            self.pip_install("--requirements", entry, entry=entry)

    def add_uwsgi(self, requirement: str) -> None:
        if _has_uwsgi(self.destination):
            return
        try:
            self.offline_first("--no-deps", "--no-build", requirement, entry=requirement)
        except StageFailed as error:
            if error.retry is Retry.NEXT_PASS:
                raise
            self._compile_uwsgi(requirement)

    def _compile_uwsgi(self, no_wheel: str) -> None:
        """Build uWSGI from its source against the interpreter of the environment."""
        if self.on_line is not None:
            self.on_line(f"{no_wheel} has no wheel for Python {self.interpreter.minor} here: uWSGI is compiled")
        try:
            self.pip_install("--no-deps", "--no-binary", "uwsgi", UWSGI_REQUIREMENT, entry=UWSGI_REQUIREMENT)
        except StageFailed as error:
            if error.retry is Retry.NEXT_PASS:
                raise
            raise StageFailed(
                f"{no_wheel} has no wheel for Python {self.interpreter.minor} on this host, and uWSGI cannot be "
                "compiled for it, so no app can run on it",
                hint="set build.python to another version, or add what a compiler needs to build.systemPackages "
                "(build-essential, and the interpreter's headers)",
                tail=error.tail,
            ) from error

    def offline_first(self, *arguments: str, entry: str) -> None:
        """Take everything from the cache if it is there: no index is asked, so none has to answer."""
        try:
            self.pip_install("--offline", *arguments, entry=entry, quiet=True)
        except StageFailed:
            self.pip_install(*arguments, entry=entry)

    def pip_install(self, *arguments: str, entry: str, cwd: Path | None = None, quiet: bool = False) -> None:
        target = ("--python", str(python_of(self.destination)))
        self.run("pip", "install", *target, *self._installing(), *arguments, entry=entry, cwd=cwd, quiet=quiet)

    def _installing(self) -> tuple[str, ...]:
        # asked for across file systems, uv copies too, but warns with every build
        # what several environments share must not change hands with one of them
        same = self.confinement.account is None and self.cache.stat().st_dev == self.destination.stat().st_dev
        return ("--compile-bytecode", "--link-mode", "hardlink" if same else "copy")

    def run(self, *arguments: str, entry: str, cwd: Path | None = None, quiet: bool = False) -> None:
        options = ("--color", "never", "--no-progress", "--no-python-downloads", "--cache-dir", str(self.cache))
        command = (str(uv_binary()), *arguments, *options)
        report = None if quiet or self.on_line is None else _masking(self.on_line)
        variables = dict(self.env) | {"VIRTUAL_ENV": str(self.destination)}
        try:
            run_confined(
                command,
                self.confinement,
                timeout=self.timeout,
                cwd=cwd or self.work,
                env=variables,
                what="uv",
                on_line=report,
            )
        except CommandTimedOut as error:
            error.tail = without_password(error.tail)
            raise
        except CommandFailed as error:
            raise self._failure(entry, error) from None

    def _failure(self, entry: str, error: CommandFailed) -> StageFailed:
        output = without_password(error.tail).replace(f"file://{self.work}", "file:.").replace(f"{self.work}/", "")
        output = output.replace(str(self.work), ".")
        output = _NEWS.sub("", output)
        index = unreachable_index(output)
        if index is None:
            return StageFailed(failure_sentence(entry, output), hint=_hint(output, entry), tail=output)
        failure = StageFailed(
            f"{entry} cannot be installed: {index} did not answer",
            hint="the next pass tries again; check the network, the proxy variables and UV_DEFAULT_INDEX",
            tail=output,
        )
        failure.retry = Retry.NEXT_PASS
        return failure


def _hint(output: str, entry: str) -> str:
    if "Failed to build" in output:
        return "add what the build needs to build.systemPackages, or choose a version that has a wheel"
    if "Hash mismatch" in output:
        return f"the index serves another file than {entry} was made from; find out why before you lock again"
    return f"change {entry} and push"


def _masking(on_line: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: on_line(without_password(line))


def _has_uwsgi(environment: Path) -> bool:
    folders: Sequence[Path] = tuple(environment.glob("lib/python*/site-packages/*.dist-info"))
    return any(folder.name.lower().startswith(("uwsgi-", "pyuwsgi-")) for folder in folders)
