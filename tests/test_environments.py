"""Environments hold what the requirements ask for, work after a rename, and fail with a sentence that says why."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import struct
import subprocess
import tarfile
import textwrap
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.allowance import Allowance
from reconciler.host.confinement import Confinement
from reconciler.host.environments import (
    PYUWSGI_REQUIREMENT,
    build_environment,
    python_of,
    uv_environment,
    uwsgi_of,
)
from reconciler.host.files import remove_tree
from reconciler.host.interpreters import HostInterpreter, Interpreters, running_interpreter
from reconciler.model.configuration import Limits
from reconciler.model.errors import CommandTimedOut, Retry, StageFailed
from reconciler.model.installer_output import failure_sentence, unreachable_index
from reconciler.model.requirements import closure

Build = Callable[..., Path]


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1",
    *,
    requires: str = "",
    script: bool = False,
    tag: str = "py3-none-any",
) -> str:
    """A wheel with one module that knows its version, and a console script where asked; returns its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n\n\ndef main():\n    print({name!r}, VERSION)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
    record = [f"{path},sha256={digest(text.encode())},{len(text.encode())}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


BACKEND = textwrap.dedent(
    """\
    import os, pathlib, zipfile

    def build_wheel(folder, config_settings=None, metadata_directory=None):
        exec(pathlib.Path("during_build.py").read_text())
        name = "blog-1-py3-none-any.whl"
        with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
            archive.writestr("blog.py", pathlib.Path("blog.py").read_text())
            archive.writestr("blog-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: blog\\nVersion: 1\\n")
            wheel = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
            archive.writestr("blog-1.dist-info/WHEEL", wheel)
            archive.writestr("blog-1.dist-info/RECORD", "")
        return name
    """
)
PACKAGE = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
PROJECT = '[project]\nname = "blog"\nversion = "1"\nrequires-python = ">=3.8"\ndependencies = ["alpha"]\n'


def package_files(during_build: str = "") -> dict[str, str]:
    return {"backend.py": BACKEND, "during_build.py": during_build, "blog.py": "TITLE = 'from the app'\n"}


def publish(folder: Path) -> str:
    """Make the wheels in ``folder`` a package index and return its address."""
    for wheel in folder.glob("*.whl"):
        page = folder / "simple" / wheel.name.split("-")[0] / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a") as file:
            file.write(f'<a href="../../{wheel.name}">{wheel.name}</a>\n')
    return f"file://{folder}/simple"


OWN = Confinement(None, Allowance.of(Limits()))
"""As the embedded profile runs uv."""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels that takes the place of the package index: alpha needs beta, pyuwsgi is a stand-in."""
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "alpha", "1", script=True, requires="beta")
    make_wheel(folder, "alpha", "2", script=True, requires="beta")
    make_wheel(folder, "beta")
    make_wheel(folder, "pyuwsgi", "2.0.30", script=True)
    publish(folder)
    return folder


@pytest.fixture
def variables(tmp_path: Path, wheels: Path) -> dict[str, str]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    base = {"PATH": os.defpath, "UV_DEFAULT_INDEX": f"file://{wheels}/simple"}
    return uv_environment(base, tmp_path / "cache", scratch)


@pytest.fixture
def build(tmp_path: Path, variables: dict[str, str]) -> Build:
    """Build an environment from an app's files, as a stage does: aside, then renamed."""

    def build_from(files: Mapping[str, str], *, entry: str | None = None, **changes: Any) -> Path:
        source = tmp_path / "source"
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        source.mkdir(exist_ok=True)
        found = closure(entry, {name: text.encode() for name, text in files.items()}.get)
        aside, final = changes.pop("destination", tmp_path / ".tmp-new"), tmp_path / "final place"
        if aside.name.startswith(".tmp-"):
            remove_tree(aside)
        settings: dict[str, Any] = {
            "interpreter": running_interpreter(),
            "closure": found,
            "source": source if found.needs_source else None,
            "uwsgi": PYUWSGI_REQUIREMENT,
            "cache": tmp_path / "cache",
            "timeout": 60.0,
            "on_line": None,
            "env": variables,
            "confinement": OWN,
        }
        build_environment(aside, **(settings | changes))
        environment: Path = aside.rename(final)
        return environment

    return build_from


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def module_of(environment: Path, name: str) -> Path:
    return next(environment.glob(f"lib/python*/site-packages/{name}.py"))


def installed(environment: Path) -> set[str]:
    return {
        path.name.removesuffix(".dist-info") for path in environment.glob("lib/python*/site-packages/*.dist-info")
    }


def test_without_requirements_there_is_only_uwsgi(build: Build) -> None:
    environment = build({})
    assert installed(environment) == {"pyuwsgi-2.0.30"}
    assert output_of(uwsgi_of(environment)) == "pyuwsgi 2.0.30"


def test_requirements_with_includes_and_constraints(build: Build) -> None:
    environment = build(
        {
            "requirements/prod.txt": "-r base.txt\n-c ../limits.txt  # old\n",
            "requirements/base.txt": "alpha ; python_version >= '3'\nabsent ; python_version < '3'\n",
            "limits.txt": "alpha<2\n",
        },
        entry="requirements/prod.txt",
    )
    assert installed(environment) == {"alpha-1", "beta-1", "pyuwsgi-2.0.30"}


def test_it_works_after_the_rename_to_a_path_with_a_space(build: Build) -> None:
    environment = build({"requirements.txt": "alpha==2\n"})
    assert output_of(environment / "bin" / "alpha") == "alpha 2"
    script = "import alpha, sys; print(sys.prefix); print(alpha.__file__); print(alpha.main.__code__.co_filename)"
    prefix, file, code = output_of(python_of(environment), "-c", script).splitlines()
    assert prefix == str(environment)
    assert file == code == str(module_of(environment, "alpha"))


def test_bytecode_is_there_and_stays_valid_after_the_rename(build: Build) -> None:
    environment = build({"requirements.txt": "alpha\n"})
    for name in ("alpha", "beta", "pyuwsgi"):
        source = module_of(environment, name)
        compiled = next((source.parent / "__pycache__").glob(f"{name}.*.pyc"))
        flags, modified, size = struct.unpack("<3I", compiled.read_bytes()[4:16])
        status = source.stat()
        assert (flags, modified, size) == (0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size)
    loaded = subprocess.run(
        [python_of(environment), "-v", "-c", "import alpha"], capture_output=True, text=True, check=True, timeout=30
    )
    assert "alpha" in loaded.stderr
    assert "wrote" not in loaded.stderr
    assert f"code object from '{module_of(environment, 'alpha')}'" not in loaded.stderr


def test_files_are_hard_links_into_the_cache(build: Build) -> None:
    assert module_of(build({"requirements.txt": "alpha\n"}), "alpha").stat().st_nlink > 1


def test_across_file_systems_files_are_copied_without_a_warning(build: Build, tmp_path: Path) -> None:
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK) or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    lines: list[str] = []
    cache = shared_memory / f"reconciler-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        environment = build({"requirements.txt": "alpha\n"}, cache=cache, on_line=lines.append)
    finally:
        remove_tree(cache)
    assert module_of(environment, "alpha").stat().st_nlink == 1
    assert not [line for line in lines if "warning" in line.lower()]


def test_nothing_is_left_in_the_scratch_folder_and_the_source_is_not_written(build: Build, tmp_path: Path) -> None:
    files = package_files("pathlib.Path('made-by-the-build').touch()") | {
        "pyproject.toml": PROJECT + PACKAGE,
        "requirements.txt": "-e .\n",
        ".git": "gitdir: elsewhere\n",
    }
    environment = build(files)
    assert "blog-1" in installed(environment)
    assert output_of(python_of(environment), "-c", "import blog; print(blog.TITLE)") == "from the app"
    assert not list((tmp_path / "scratch").iterdir())
    written = {str(path.relative_to(tmp_path / "source")) for path in (tmp_path / "source").rglob("*")}
    assert written == set(files)


def test_a_project_that_is_no_package_gives_only_its_dependencies(build: Build) -> None:
    assert installed(build({"pyproject.toml": PROJECT})) == {"alpha-2", "beta-1", "pyuwsgi-2.0.30"}


def test_a_project_that_is_a_package_is_installed_too(build: Build) -> None:
    environment = build(package_files() | {"pyproject.toml": PROJECT + PACKAGE})
    assert "blog-1" in installed(environment)
    assert module_of(environment, "blog").is_file()


def lock_of(wheels: Path, source: str) -> str:
    entries = [
        (name, version, hashlib.sha256((wheels / f"{name}-{version}-py3-none-any.whl").read_bytes()).hexdigest())
        for name, version in (("alpha", "1"), ("beta", "1"))
    ]
    lines = ['version = 1\nrevision = 1\nrequires-python = ">=3.8"\n']
    for name, version, sha256 in entries:
        lines.append(
            f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "{wheels}" }}\n'
            + ('dependencies = [{ name = "beta" }]\n' if name == "alpha" else "")
            + f'wheels = [{{ path = "{name}-{version}-py3-none-any.whl", hash = "sha256:{sha256}" }}]\n'
        )
    lines.append(
        f'[[package]]\nname = "blog"\nversion = "1"\nsource = {source}\ndependencies = [{{ name = "alpha" }}]\n'
        '[package.metadata]\nrequires-dist = [{ name = "alpha" }]\n'
    )
    return "\n".join(lines)


def test_a_lock_file_is_installed_exactly_whatever_is_newer(build: Build, wheels: Path) -> None:
    files = {"pyproject.toml": PROJECT, "uv.lock": lock_of(wheels, '{ virtual = "." }'), ".python-version": "3.7\n"}
    environment = build(files)
    assert installed(environment) == {"alpha-1", "beta-1", "pyuwsgi-2.0.30"}
    assert output_of(environment / "bin" / "alpha") == "alpha 1"


def test_a_lock_file_of_a_package_installs_a_copy_of_it(build: Build, wheels: Path) -> None:
    files = package_files() | {
        "app/pyproject.toml": PROJECT + PACKAGE,
        "app/uv.lock": lock_of(wheels, '{ editable = "." }'),
        "app/.python-version": "3.7\n",
    }
    files = {name if "/" in name else f"app/{name}": text for name, text in files.items()}
    environment = build(files, entry="app/uv.lock")
    assert installed(environment) == {"alpha-1", "beta-1", "blog-1", "pyuwsgi-2.0.30"}
    assert output_of(python_of(environment), "-c", "import blog; print(blog.__file__)").startswith(str(environment))


def test_a_wheel_of_the_app_itself_is_installed(build: Build, tmp_path: Path) -> None:
    make_wheel(tmp_path / "source" / "vendor", "gamma")
    environment = build({"requirements.txt": "vendor/gamma-1-py3-none-any.whl\n"})
    assert installed(environment) == {"gamma-1", "pyuwsgi-2.0.30"}


def test_hashes_are_checked(build: Build, wheels: Path) -> None:
    hashes = {
        name: hashlib.sha256((wheels / f"{name}-1-py3-none-any.whl").read_bytes()).hexdigest()
        for name in ("alpha", "beta")
    }
    good = "".join(f"{name}==1 \\\n    --hash=sha256:{value}\n" for name, value in hashes.items())
    with pytest.raises(StageFailed, match=r"requirements\.txt cannot be installed: .*[Hh]ash mismatch.*beta==1"):
        build({"requirements.txt": good.replace(hashes["beta"], "0" * 64)})
    with pytest.raises(StageFailed, match=r"all requirements must have a hash.* beta==1"):
        build({"requirements.txt": good.split("beta")[0] + "beta==1\n"})


def test_hashes_that_are_right_are_accepted(build: Build, wheels: Path) -> None:
    lines = [
        f"{name}==1 --hash=sha256:{hashlib.sha256((wheels / f'{name}-1-py3-none-any.whl').read_bytes()).hexdigest()}"
        for name in ("alpha", "beta")
    ]
    assert installed(build({"requirements.txt": "\n".join(lines)})) == {"alpha-1", "beta-1", "pyuwsgi-2.0.30"}


def test_an_app_that_brings_uwsgi_keeps_its_own(build: Build, tmp_path: Path, variables: dict[str, str]) -> None:
    make_wheel(tmp_path / "more", "uwsgi", "2.0.21", script=True)
    variables["UV_FIND_LINKS"] = str(tmp_path / "more")
    environment = build({"requirements.txt": "uwsgi\n"})
    assert installed(environment) == {"uwsgi-2.0.21"}
    assert output_of(uwsgi_of(environment)) == "uwsgi 2.0.21"


def test_a_python_without_a_uwsgi_wheel_is_said_so(build: Build, tmp_path: Path, variables: dict[str, str]) -> None:
    make_wheel(tmp_path / "other", "pyuwsgi", "2.0.30", tag="cp27-cp27m-manylinux1_x86_64")
    variables["UV_DEFAULT_INDEX"] = publish(tmp_path / "other")
    minor = running_interpreter().minor
    with pytest.raises(StageFailed, match=rf"^pyuwsgi>=2.0.30,<2.1 has no wheel for Python {minor}") as caught:
        build({})
    assert "build.python" in (caught.value.hint or "")

    # unless it can be compiled against that Python
    built = BACKEND.replace("blog-1", "uwsgi-2.0.31").replace(
        "Name: blog\\nVersion: 1", "Name: uwsgi\\nVersion: 2.0.31"
    )
    with tarfile.open(tmp_path / "other/uwsgi-2.0.31.tar.gz", "w:gz") as archive:
        for name, text in {
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": built,
            "blog.py": "",
            "during_build.py": "",
            "PKG-INFO": "Metadata-Version: 2.2\nName: uwsgi\nVersion: 2.0.31\n",
        }.items():
            member = tarfile.TarInfo(f"uwsgi-2.0.31/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    variables["UV_FIND_LINKS"] = str(tmp_path / "other")
    said: list[str] = []
    assert installed(build({}, on_line=said.append)) == {"uwsgi-2.0.31"}
    assert any("uWSGI is compiled" in line for line in said)


@pytest.mark.parametrize(
    ("requirement", "sentence"),
    [
        ("absent==9", r"^requirements\.txt cannot be resolved: absent was not found .* you require absent==9$"),
        ("alpha==9", r"^requirements\.txt cannot be resolved: .*alpha==9.*$"),
        ("alpha>2", r"^requirements\.txt cannot be resolved: .*alpha>2.*$"),
        ("flask==", r"^requirements\.txt cannot be installed: Couldn't parse requirement"),
        ("--bogus 3", r"^requirements\.txt cannot be installed: Unexpected"),
    ],
)
def test_requirements_that_cannot_be_met_are_named(
    build: Build, tmp_path: Path, requirement: str, sentence: str
) -> None:
    with pytest.raises(StageFailed, match=sentence) as caught:
        build({"requirements.txt": requirement + "\n"})
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.retry is Retry.ON_CHANGE
    assert caught.value.tail
    assert caught.value.hint == "change requirements.txt and push"


def test_a_package_that_does_not_build_quotes_its_reason(build: Build) -> None:
    files = package_files("raise SystemExit('libfoo is missing')") | {"pyproject.toml": PROJECT + PACKAGE}
    with pytest.raises(StageFailed, match=r"^pyproject\.toml: blog cannot be built: libfoo is missing$") as caught:
        build(files)
    assert "build.systemPackages" in (caught.value.hint or "")


def test_a_build_sees_only_what_was_passed(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_SECRET", "hunter2")
    report = tmp_path / "seen"
    files = package_files(f"pathlib.Path({str(report)!r}).write_text(repr(dict(os.environ)))")
    build(files | {"pyproject.toml": PROJECT + PACKAGE})
    assert "hunter2" not in report.read_text()
    assert f"'HOME': '{tmp_path / 'scratch'}'" in report.read_text()


def test_a_build_that_takes_too_long_is_ended_with_all_it_started(build: Build, tmp_path: Path) -> None:
    report = tmp_path / "pid"
    during = (
        "import subprocess; child = subprocess.Popen(['sleep', '300'])\n"
        f"pathlib.Path({str(report)!r}).write_text(str(child.pid)); child.wait()"
    )
    started = time.monotonic()
    with pytest.raises(CommandTimedOut):
        build(package_files(during) | {"pyproject.toml": PROJECT + PACKAGE}, timeout=4.0)
    assert time.monotonic() - started < 30
    child = Path("/proc", report.read_text(), "cmdline")
    deadline = time.monotonic() + 5
    while child.exists() and b"sleep" in child.read_bytes():
        assert time.monotonic() < deadline, "the build's child still runs"
        time.sleep(0.02)
    assert not list((tmp_path / "scratch").iterdir())


def test_an_index_that_does_not_answer_is_tried_again_and_its_password_is_not_shown(
    build: Build, variables: dict[str, str]
) -> None:
    lines: list[str] = []
    changed = variables | {"UV_DEFAULT_INDEX": "http://me:hunter2@127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    with pytest.raises(
        StageFailed, match=r"cannot be installed: http://.*127\.0\.0\.1:9/.* did not answer"
    ) as caught:
        build({"requirements.txt": "absent\n"}, env=changed, on_line=lines.append)
    assert caught.value.retry is Retry.NEXT_PASS
    assert "hunter2" not in str(caught.value) + caught.value.tail + "".join(lines)


def test_settings_above_the_scratch_folder_are_not_read(build: Build, tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text("nonsense = 1\n")
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\nnonsense = 1\n[tool.uv.workspace]\nmembers = ["**"]\n')
    assert "alpha-2" in installed(build({"requirements.txt": "alpha\n"}))


def test_lines_are_reported_while_uv_works(build: Build) -> None:
    lines: list[str] = []
    build({"requirements.txt": "alpha\n"}, on_line=lines.append)
    assert any("alpha==2" in line for line in lines)


def test_an_environment_is_never_made_over_another(build: Build, tmp_path: Path) -> None:
    destination = tmp_path / "taken"
    destination.mkdir()
    (destination / "file").touch()
    with pytest.raises(ValueError, match="taken is not empty"):
        build({}, destination=destination)
    assert [path.name for path in destination.iterdir()] == ["file"]


def test_an_interpreter_that_does_not_run_is_named(build: Build) -> None:
    broken = HostInterpreter("cpython", "3.11.0", Path("/bin/false"))
    with pytest.raises(StageFailed, match=r"^an environment of Python 3\.11\.0 cannot be ") as caught:
        build({}, interpreter=broken)
    assert "/bin/false" in (caught.value.hint or "")


def test_the_source_must_be_given_where_it_is_needed(build: Build) -> None:
    with pytest.raises(ValueError, match=r"requirements\.txt installs from the app's folder"):
        build({"requirements.txt": "./lib\n"}, source=None)


def test_two_minor_versions_get_their_own_environments(build: Build) -> None:
    interpreters = Interpreters(None)
    running = running_interpreter()
    for minor in ("3.12", "3.13", "3.11", "3.10"):
        if minor != running.minor:
            try:
                other: HostInterpreter = interpreters.find(minor)
            except StageFailed:
                continue
            environment = build({"requirements.txt": "alpha\n"}, interpreter=other)
            script = "import alpha, sys; print('%d.%d' % sys.version_info[:2])"
            assert output_of(python_of(environment), "-c", script) == minor
            return
    pytest.skip(f"this host has no Python besides {running.minor}")


def test_uv_gets_named_variables_only(tmp_path: Path) -> None:
    base = {
        "PATH": "/bin",
        "HOME": "/home/agent",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "UV_PUBLISH_TOKEN": "hunter2",
        "UV_INDEX_PRIVATE_PASSWORD": "hunter2",
        "VIRTUAL_ENV": "/venv",
        "PYTHONPATH": "/x",
        "https_proxy": "http://proxy.example.com",
        "PIP_INDEX_URL": "https://example.com/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.example.com https://b.example.com",
        "PIP_FIND_LINKS": "/a /b",
        "SSL_CERT_FILE": "/certificates.pem",
        "PIP_CERT": "/other.pem",
    }
    assert uv_environment(base, tmp_path / "cache", tmp_path) == {
        "PATH": "/bin",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "https_proxy": "http://proxy.example.com",
        "UV_DEFAULT_INDEX": "https://example.com/simple",
        "UV_EXTRA_INDEX_URL": "https://a.example.com https://b.example.com",
        "UV_FIND_LINKS": "/a,/b",
        "SSL_CERT_FILE": "/certificates.pem",
    }


def test_settings_of_uv_win_over_those_of_pip(tmp_path: Path) -> None:
    base = {"UV_INDEX_URL": "https://uv.example.com", "PIP_INDEX_URL": "https://pip.example.com"}
    assert "UV_DEFAULT_INDEX" not in uv_environment(base, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (
            "  × No solution found when resolving dependencies:\n"
            "  ╰─▶ Because foo was not found in the package registry and you require\n"
            "      foo==9, we can conclude that your requirements are unsatisfiable.\n",
            "r.txt cannot be resolved: foo was not found in the package registry and you require foo==9",
        ),
        (
            "error: Failed to fetch\n  Caused by: HTTP status client error (404 Not Found)\n",
            "r.txt cannot be installed: Failed to fetch: HTTP status client error (404 Not Found)",
        ),
        ("", "r.txt cannot be installed: uv gave no reason"),
    ],
)
def test_sentences_of_other_versions_of_uv(output: str, sentence: str) -> None:
    assert failure_sentence("r.txt", output) == sentence


@pytest.mark.parametrize(
    ("output", "address"),
    [
        (
            "error: Failed to fetch: `https://example.com/a/`\n  Caused by: tcp connect error",
            "https://example.com/a/",
        ),
        (
            "error: Failed to fetch: https://example.com/a/\n  cause: HTTP status server error (503 x)",
            "https://example.com/a/",
        ),
        ("error: Failed to fetch: https://example.com/a/\n  cause: HTTP status client error (404 x)", None),
        ("error: No solution found", None),
    ],
)
def test_only_silence_and_failures_of_the_server_are_tried_again(output: str, address: str | None) -> None:
    assert unreachable_index(output) == address


def test_a_flask_environment_from_the_index_is_fast_when_the_cache_is_warm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env = uv_environment(os.environ, tmp_path / "cache", scratch)

    def make(name: str, **changes: str) -> float:
        started = time.perf_counter()
        build_environment(
            tmp_path / name,
            interpreter=running_interpreter(),
            closure=closure(None, {"requirements.txt": b"flask>=3,<4\n"}.get),
            source=None,
            uwsgi=PYUWSGI_REQUIREMENT,
            cache=tmp_path / "cache",
            timeout=90.0,
            on_line=None,
            env=env | changes,
            confinement=OWN,
        )
        return time.perf_counter() - started

    cold = make("cold")
    warm = min(make(f"warm{number}") for number in range(2))
    offline = min(make(f"offline{number}", UV_OFFLINE="1") for number in range(2))
    with capsys.disabled():
        measured = f"{cold:.2f} s cold, {warm:.2f} s warm, {offline:.2f} s warm without asking the index"
        print(f"\nFlask environment: {measured}")
    environment = (tmp_path / "warm0").rename(tmp_path / "renamed")
    assert output_of(uwsgi_of(environment), "--version").startswith("2.0.")
    assert "Flask 3." in output_of(environment / "bin" / "flask", "--version")
    assert offline < 5
