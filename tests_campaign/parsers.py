"""Every parser at the edge: what it reads, and right inputs to begin with."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from examples import CHECKOUT
from reconciler.engine.results import AppResult, PassResult
from reconciler.engine.results_wire import as_wire, from_wire
from reconciler.host import git_lfs, uwsgi_stats
from reconciler.host.age_keys import read_identities
from reconciler.host.configuration_memory import recall
from reconciler.host.contents import unpack_index
from reconciler.host.git_addresses import masked, parse_address, submodule_address
from reconciler.host.git_failures import hint_of, is_damage, useful_line
from reconciler.host.git_objects import parse_refs
from reconciler.host.git_signatures import read_signers
from reconciler.host.sops.documents import read_document
from reconciler.host.sops.files import decrypt_file
from reconciler.model.adopting.draft import Draft
from reconciler.model.adopting.nginx_sites import carry_nginx
from reconciler.model.adopting.nginx_syntax import parse
from reconciler.model.adopting.uwsgi_ini import read_ini
from reconciler.model.adopting.uwsgi_settings import app_folder, carry_uwsgi
from reconciler.model.configuration_reading import read_configuration
from reconciler.model.control import Command, Request, read_answer, read_request, write_request
from reconciler.model.errors import HostError, ReconcilerError, SecretsUnreadable, StageFailed
from reconciler.model.installer_output import failure_sentence, unreachable_index
from reconciler.model.manifest_reading import read_manifests
from reconciler.model.plan import Action, AppPlan, Change, Outcome, Reason
from reconciler.model.printable import one_line, printable
from reconciler.model.rendering import ini_value, nginx_quote, render
from reconciler.model.requirements import closure
from reconciler.model.revision import is_range, select
from reconciler.model.sealed_environment import sealed_as
from reconciler.model.secret import MaskedLines, Secret
from reconciler.model.stage import StageName
from reconciler.model.uwsgi_log import about_vassal, cause_of_end, death_of_worker, telling
from sops_program import Keeper
from world import manifest


@dataclass(frozen=True)
class Parser:
    """``read`` may raise a documented error and no other; ``count`` is how many inputs a run gives it."""

    read: Callable[[bytes], object]
    corpus: Sequence[bytes]
    count: int


@functools.cache
def _folder() -> Path:
    """A folder for parsers that read files; removed by the system's own cleaning."""
    folder = tempfile.TemporaryDirectory(prefix="rf-")
    _kept.append(folder)
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _files(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(CHECKOUT.glob(pattern)) if path.is_file()]


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A parser of text, fed with bytes as the program would decode them."""
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def _at(name: str, read: Callable[[Path], object], mode: int = 0o600) -> Callable[[bytes], object]:
    def written(data: bytes) -> object:
        path = _folder() / name
        path.write_bytes(data)
        path.chmod(mode)
        return read(path)

    return written


# manifests and configuration


def _manifests(data: bytes) -> object:
    found = read_manifests({"manifests/a.yaml": data})
    return [str(problem) for problem in found.problems]


def _configuration(data: bytes) -> object:
    return read_configuration(data, file="agent.yaml")


def _recalled(data: bytes) -> object:
    place = _folder() / "v" / "cache" / "configuration.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return recall(_folder() / "agent.yaml", b"root: ./v\n")


# git

REFS = "".join(
    f"{digit * 40}\t{name}\n"
    for digit, name in (
        ("1", "HEAD"),
        ("2", "refs/heads/main"),
        ("3", "refs/tags/v1.2.0"),
        ("4", "refs/tags/v1.2.0^{}"),
    )
)
ADDRESSES = (
    "https://git.example.com/x.git", "https://user:word@git.example.com:8443/x.git", "ssh://git@git.example.com/x.git",
    "git@git.example.com:x.git", "file:///srv/x.git", "/srv/x.git", "../x.git", "./y/../z", "https://[::1]/x",
)  # fmt: skip


def _address(text: str) -> object:
    masked(text)
    with suppress(ReconcilerError):
        parse_address(text)
    for parent in ("https://git.example.com/a/b.git", "git@git.example.com:a/b", "/srv/a/b"):
        with suppress(ReconcilerError):
            submodule_address(parent, text)
    return None


def _revision(text: str) -> object:
    first, _, rest = text.partition("\n")
    is_range(first)
    return select(first, {f"refs/tags/{name}": "1" * 40 for name in rest.split("\n")[:20]})


def _git_said(text: str) -> object:
    return useful_line(text), hint_of(text), is_damage(text)


def _pointer(data: bytes) -> object:
    place = _folder() / "lfs"
    place.mkdir(exist_ok=True)
    (place / "a").write_bytes(data[: git_lfs.POINTER_BYTES])
    return list(git_lfs.find_pointers(place))


def _signers(path: Path) -> object:
    if b"BEGIN PGP" in path.read_bytes():
        # each would start gpg; tests/test_trust.py has some of them
        return None
    return read_signers(path, _folder() / "cache", outside=())


# requirements


def _requirements(name: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        files = {name: data, "base.txt": b"click\n", "pyproject.toml": PYPROJECT} | {name: data}
        return closure(name, files.get)

    return read


PYPROJECT = b"""[project]
name = "app"
version = "1"
dependencies = ["flask>=3", "x @ file:./x"]
[tool.uv.sources]
y = [{path = "y"}, {git = "https://git.example.com/y"}]
[tool.uv.workspace]
members = ["inner/*"]
"""
LOCK = b"""version = 1
requires-python = ">=3.11"
[[package]]
name = "app"
version = "1"
source = { virtual = "." }
[[package]]
name = "x"
version = "1"
source = { directory = "x" }
"""
REQUIREMENTS = b"""# what it needs
-r base.txt
--constraint=base.txt
flask[async]>=3 ; python_version > "3.8"  # old
-e ./inner[x]
x @ file:./x
./x.whl --hash=sha256:abc \\
  --hash=sha256:def
--find-links wheels
git+https://git.example.com/x.git#egg=x
${PROJECT_ROOT}/y
"""

# secrets


@functools.cache
def _keeper() -> Keeper:
    return Keeper.new(_folder())


def _sealed_file(name: str, text: str) -> list[bytes]:
    return [text.encode(), _keeper().encrypt(name, text).encode()]


@functools.cache
def _data_key(wrapped: bytes) -> bytes | None:
    return _keeper().unwrap(wrapped)


def _sops(name: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        with suppress(SecretsUnreadable):
            read_document(name, data)
        return decrypt_file(name, data, _data_key).text

    return read


def _sealed(text: str) -> object:
    expected = "# written by the reconciler\nexport A='b'\nexport T='***' # sealed 00000000\n"
    return sealed_as(
        expected, text, lambda name, value: hashlib.sha256((name + value).encode("utf-8", "replace")).hexdigest()
    )


def _masking(data: bytes) -> object:
    heard: list[bytes] = []
    lines = MaskedLines(heard.append, [Secret("canary\nof lines"), Secret("'\"\\")])
    for start in range(0, len(data), 97):
        lines.write(data[start : start + 97])
    lines.end()
    return heard


# what programs and clients say

STATS = json.dumps(
    {"pid": 1, "listen_queue": 0, "workers": [
        {"id": 1, "pid": 2, "status": "idle", "apps": [{"id": 0}], "accepting": 1, "requests": 3, "respawn_count": 1,
         "cores": [{"in_request": 0}]}]}
).encode()  # fmt: skip
CHANGE = Change(StageName.SOURCE, Action.CREATE, (Reason.INPUT_CHANGED,), ("a -> b",), "00")
RESULT = AppResult(
    "blog",
    Outcome.FAILED,
    AppPlan("blog", (CHANGE,)),
    "1" * 40,
    "abc",
    StageFailed("x"),
    None,
    {StageName.SOURCE: 0.1},
)
WIRE = json.dumps(as_wire(PassResult("1" * 40, (RESULT,)))).encode()
LOG = b"""*** Starting uWSGI 2.0.30 (64bit) on [Sun Nov 22 22:00:00 2026] ***
Traceback (most recent call last):
  File "./wsgi.py", line 1, in <module>
    import nothing
ModuleNotFoundError: No module named 'nothing'
unable to load app 0 (mountpoint='') (callable not found or import error)
DAMN ! worker 1 (pid: 12) died, killed by signal 9 :( trying respawn ...
[emperor] vassal blog.abc.ini has been removed
"""
UV = b"""Using Python 3.11 environment at: x
  \xc3\x97 No solution found when resolving dependencies:
  \xe2\x95\xb0\xe2\x94\x80\xe2\x96\xb6 Because flask==99 was not found in the package registry and you require it,
      we can conclude that your requirements are unsatisfiable.
error: Request failed after 3 retries
  Caused by: error sending request for url (https://user:word@pypi.example.com/simple/)
"""


def _stats(data: bytes) -> object:
    """As :func:`uwsgi_stats.worker_stats`, which reads from a socket."""
    with _answering(data):
        return uwsgi_stats.worker_stats(Path("/nowhere/stats"))


class _answering:
    """Puts an answer in the place of the socket's."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> None:
        self.real = uwsgi_stats._ask
        try:
            answer = json.loads(self.data.decode("utf-8", "replace"), strict=False)
        except (ValueError, RecursionError) as error:
            raise HostError("no JSON") from error
        uwsgi_stats._ask = lambda _path, _who: answer

    def __exit__(self, *_: object) -> None:
        uwsgi_stats._ask = self.real


def _wire(data: bytes) -> object:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return None
    with suppress(KeyError, TypeError, ValueError):
        return from_wire(values) if isinstance(values, dict) else None
    return None


def _log(text: str) -> object:
    return cause_of_end(text), telling(text), death_of_worker(text), about_vassal(text, "blog.abc")


def _uv(text: str) -> object:
    return failure_sentence("requirements.txt", text), unreachable_index(text)


def _index(data: bytes) -> object:
    with suppress(ValueError, KeyError):
        return unpack_index(data)
    return None


# nginx and uWSGI


def _nginx(text: str) -> object:
    draft = Draft("app", ".", ".", "/srv/app")
    draft.module = "wsgi:app"
    carry_nginx(parse(text, "site.conf"), draft)
    return draft


def _uwsgi(text: str) -> object:
    ini = read_ini(text, "uwsgi.ini", "/srv/app/uwsgi.ini")
    draft = Draft("app", ".", ".", app_folder(ini, "/srv/app/uwsgi.ini"))
    carry_uwsgi(ini, draft, None)
    return draft


def _quoting(text: str) -> object:
    with suppress(ValueError):
        nginx_quote(text)
    with suppress(ValueError):
        ini_value(text)
    printable(text).encode("utf-8", "surrogateescape")
    one_line(text).encode()
    return None


def _template(text: str) -> object:
    return render(text, {"app": "blog", "names": ["a", "b"], "nothing": None}, name="t")


TEMPLATES = (
    b"{% for name in names %}{{ name | nginx_quote }}{% endfor %}{% if app %}x{% else %}y{% endif %}",
    b"{% set x = app %}{{ x.upper() ~ names[0] }}{% raw %}{{ }}{% endraw %}{# c #}",
    b"{% macro m(a) %}{{ a }}{% endmacro %}",
    b"{{ app.__class__ }}{{ names | join(',') }}{% filter upper %}a{% endfilter %}{{ nothing }}",
)
REQUESTS = [
    write_request(Request(command, None if command is Command.SYNC else "blog", "why")) for command in Command
]
ANSWERS = [
    b'{"version": 1, "ok": true, "result": null}\n',
    b'{"version": 1, "ok": false, "error": {"message": "x"}}\n',
]
MANIFESTS = [*_files("manifests/*.yaml"), *_files("examples/*/*.yaml"), manifest("blog", env={"A": "1"}).encode()]
CONFIGURATION = [
    b"repository: {url: ./c, branch: main, interval: 1s}\nlimits: {build: 5s, checkoutSize: 1g}\n",
    b"profile: embedded\nroot: ./var\nrepository:\n  url: https://git.example.com/x.git\n  path: manifests\nhost:\n"
    b"  name: null\n  labels: {a: b}\nhttp: {address: 127.0.0.1, port: 8080}\nprune: {enabled: true, limit: 0.5}\n",
]
TOKENS = "sunny: day\nlist:\n  - a\n  - b: c\n# a note\nnumber: 12.5\nyes: true\nblock: |\n  x\n  y\n"


def parsers() -> dict[str, Parser]:
    """All of them; the corpora of some are made with a key, so this takes a moment."""
    secret_json = json.dumps({"a": {"b": "c"}, "l": [1, 2.5, True, None], "s": "x"})
    return {
        "manifests": Parser(_manifests, MANIFESTS, 6_000),
        "agent.yaml": Parser(_configuration, CONFIGURATION, 1_500),
        "kept configuration": Parser(_recalled, [b'{"of": "x", "configuration": {"Host": {"name": null}}}'], 2_000),
        "refs": Parser(_text(parse_refs), [REFS.encode()], 20_000),
        "addresses": Parser(_text(_address), [a.encode() for a in ADDRESSES], 12_000),
        "revisions": Parser(
            _text(_revision), [b"^1.4\nv1.4.0\n1.5", b">=1,<2\nv1", b"~1.2.3\nv1.2.9-rc.1+b", b"main"], 12_000
        ),
        "git's errors": Parser(_text(_git_said), [b"fatal: x\nremote: y\n", b"error: object 1: hasDotgit: z"], 4_000),
        "LFS pointers": Parser(
            _pointer, [b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 5\n"], 2_000
        ),
        "signers": Parser(
            _at("signers", _signers), [b"a@example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI\n", b"# x\n"], 1_500
        ),
        "requirements.txt": Parser(_requirements("requirements.txt"), [REQUIREMENTS], 8_000),
        "pyproject.toml": Parser(_requirements("pyproject.toml"), [PYPROJECT], 4_000),
        "uv.lock": Parser(_requirements("uv.lock"), [LOCK], 4_000),
        "secrets in YAML": Parser(_sops("a.yaml"), _sealed_file("a.yaml", TOKENS), 1_500),
        "secrets in JSON": Parser(_sops("a.json"), _sealed_file("a.json", secret_json), 4_000),
        "secrets in dotenv": Parser(_sops("a.env"), _sealed_file("a.env", "A=b\n# c\nD=e f\n"), 4_000),
        "age keys": Parser(_at("key", read_identities), [_keeper().key_file.read_bytes()], 1_500),
        "environment files": Parser(
            _text(_sealed), [b"# written by the reconciler\nexport A='b'\nexport T='x'\\''y'\n"], 3_000
        ),
        "masking": Parser(_masking, [b"a canary\nof lines b", b"'\"\\"], 1_500),
        "nginx": Parser(_text(_nginx), _files("tests/adopt/*/*.conf") + _files("tests/adopt/*/*nginx*"), 3_000),
        "uWSGI": Parser(_text(_uwsgi), _files("tests/adopt/*/*.ini"), 4_000),
        "quoting": Parser(_text(_quoting), [b"a b", b'"x"', b"${a}"], 10_000),
        "templates": Parser(_text(_template), TEMPLATES, 1_500),
        "control requests": Parser(read_request, REQUESTS, 15_000),
        "control answers": Parser(read_answer, ANSWERS, 3_000),
        "results": Parser(_wire, [WIRE], 3_000),
        "uWSGI's stats": Parser(_stats, [STATS], 4_000),
        "logs": Parser(_text(_log), [LOG], 5_000),
        "uv's output": Parser(_text(_uv), [UV], 3_000),
        "indexes": Parser(_index, [b"reconciler index\n" + bytes(40)], 1_000),
    }


DOCUMENTED: tuple[type[Exception], ...] = (ReconcilerError,)
"""What a parser may raise; each is told to a person as one sentence."""
