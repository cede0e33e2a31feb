"""Which key of a manifest each option of uWSGI becomes; docs/adopt.md has the same as a table."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

from reconciler.model import uwsgi_options
from reconciler.model.adopting import reasons
from reconciler.model.adopting.draft import Draft, holds_files_of_users
from reconciler.model.adopting.uwsgi_ini import IniFile, Option
from reconciler.model.values import ENVIRONMENT_NAME_PATTERN
from reconciler.model.vassal_environment import RESERVED_NAMES, RESERVED_PREFIX

SET_BY_THE_RECONCILER = frozenset({
    "socket", "uwsgi-socket", "http-socket", "http", "https", "https-socket", "protocol", "socket-protocol",
    "chmod-socket", "chown-socket", "stats", "stats-server", "stats-http", "stats-minified",
    "master", "need-app", "no-orphans", "single-interpreter", "die-on-term", "vacuum", "strict", "enable-threads",
    "binary-path", "emperor", "vassal-set", "procname", "procname-prefix", "procname-prefix-spaced",
    "procname-append", "procname-master", "auto-procname",
    "pidfile", "pidfile2", "safe-pidfile", "daemonize", "daemonize2",
    "logto", "logto2", "logger", "req-logger", "log-reopen", "log-maxsize", "log-backupname", "logfile-chmod",
    "logfile-chown", "log-truncate", "disable-logging", "log-master", "threaded-logger", "log-5xx",
    "virtualenv", "home", "venv", "pyhome",
})  # fmt: skip
"""Options that need no key: every vassal has its own of them, and an environment that is built."""

SWITCHES_THAT_MAY_BE_OFF = frozenset({
    "no-orphans", "single-interpreter", "die-on-term", "vacuum", "enable-threads", "disable-logging", "log-5xx",
})  # fmt: skip
"""Of those, the ones that a manifest may turn off."""

ALWAYS_ON = ("master", "need-app")
OPTIONS_WITH_FILES = frozenset({"touch-reload", "touch-workers-reload", "touch-chain-reload", "touch-mules-reload"})
AUTO_RELOAD = frozenset({"py-autoreload", "python-autoreload", "py-auto-reload", "python-auto-reload"})
APP_FILES = ("wsgi-file", "file")
LOOKS_SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|PRIVATE|_KEY|DSN|DATABASE_URL")
"""Names of variables whose values do not belong into a manifest, which is plain text."""
OPTION_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,63}")
COUNT_LIMIT = 1024
_KEYS = {
    "processes": "spec.uwsgi.processes", "workers": "spec.uwsgi.processes", "threads": "spec.uwsgi.threads",
    "env": "spec.env", "chdir": "spec.source.directory", "static-map": "spec.static", "uid": "spec.user",
}  # fmt: skip


def carry_uwsgi(ini: IniFile, draft: Draft, known: frozenset[str] | None = None) -> None:
    """Put every option where it belongs in the draft; ``known`` are the names that uWSGI has, where that is known."""
    usable = []
    for option in ini.options:
        why = _unusable(option, ini, known)
        if why is None:
            usable.append(option)
        elif why:
            draft.leave(option.file, option.line, _shown(option), why)
    # a group is looked at beside its account, wherever it stands
    for option in sorted(usable, key=lambda option: option.name == "gid"):
        _carry(option, draft)
    _carry_module(usable, draft)


def _unusable(option: Option, ini: IniFile, known: frozenset[str] | None) -> str | None:
    """Why an option is not looked at further; empty: it has done what it was for; ``None``: it is looked at."""
    if option.inside is not None:
        return reasons.LOGIC
    is_option = OPTION_NAME.fullmatch(option.name) is not None and (known is None or option.name in known)
    if option.name in ini.variables and not is_option:
        return ""
    if option.name in ini.variables and known is None and not _is_handled(option.name):
        return reasons.UNTOLD
    if not is_option:
        return reasons.UNKNOWN
    if option.unknown is None or option.name in SET_BY_THE_RECONCILER - SWITCHES_THAT_MAY_BE_OFF:
        return None
    key = _KEYS.get(option.name, "spec.uwsgi.options")
    lost = f"what {option.unknown} stands for is known on the old host only; write what it is there into {key}"
    return reasons.PERCENT if option.unknown.startswith("%(") else lost


def _is_handled(name: str) -> bool:
    return name in _CARRIERS or name in SET_BY_THE_RECONCILER or name in (*APP_FILES, "callable", "module")


def _carry(option: Option, draft: Draft) -> None:
    if option.name in ("socket", "uwsgi-socket", "http-socket", "http"):
        draft.sockets.append(option.value)
    if option.name in SWITCHES_THAT_MAY_BE_OFF and not option.is_true:
        draft.options[option.name] = ["false"]
    elif option.name in ALWAYS_ON and not option.is_true:
        draft.leave(option.file, option.line, str(option), reasons.ALWAYS_ON)
    elif option.name in _CARRIERS:
        why = _CARRIERS[option.name](option, draft)
        if why is not None:
            draft.leave(option.file, option.line, _shown(option), why)
    elif option.name not in SET_BY_THE_RECONCILER and option.name not in (*APP_FILES, "callable", "module", "wsgi"):
        why = _carry_option(option, draft)
        if why is not None:
            draft.leave(option.file, option.line, str(option), why)


def _shown(option: Option) -> str:
    """An option as it is listed: of a variable only its name, because its value may be a secret."""
    return f"{option.name} = {option.value.partition('=')[0]}=…" if option.name == "env" else str(option)


def _carry_option(option: Option, draft: Draft) -> str | None:
    why = uwsgi_options.refusal(option.name)
    if why is not None:
        return _with_next_action(option.name, why)
    value = option.value
    inside = draft.below(value) if value.startswith("/") else None
    if "%(" in value:
        return reasons.PERCENT
    draft.options.setdefault(option.name, []).append(value if inside is None else inside)
    return None


def _with_next_action(name: str, why: str) -> str:
    if uwsgi_options.is_settable(name):
        cause, _, use = why.removesuffix(uwsgi_options.ALLOW).partition("; ")
        allow = f"allow it with allow.uwsgiOptions: [{name}] of agent.yaml, and write it into spec.uwsgi.options"
        return f"{cause}; {use}, or {allow}" if use else f"{cause}; {allow}"
    return why if why.startswith(("use ", "write ")) or "; " in why else f"{why}; {reasons.NOTHING}"


def _processes(option: Option, draft: Draft) -> str | None:
    return _count(option, draft, "processes")


def _threads(option: Option, draft: Draft) -> str | None:
    return _count(option, draft, "threads")


def _count(option: Option, draft: Draft, key: str) -> str | None:
    if not option.value.isdecimal() or not 1 <= int(option.value) <= COUNT_LIMIT:
        return f"it is no number from 1 to {COUNT_LIMIT}; write one into spec.uwsgi.{key}"
    setattr(draft, key, int(option.value))
    return None


def _folder(option: Option, draft: Draft) -> str | None:
    if draft.below(option.value) == ".":
        return None
    return reasons.ANOTHER_FOLDER.format(folder=draft.folder)


def _user(option: Option, draft: Draft) -> str | None:
    if option.value in ("root", "0"):
        return reasons.AS_ROOT
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", option.value):
        return reasons.NO_ACCOUNT_NAME
    draft.user = option.value
    return None


def _group(option: Option, draft: Draft) -> str | None:
    if option.value == draft.user:
        return None
    return reasons.GROUP


def _environment(option: Option, draft: Draft) -> str | None:
    name, equals, value = option.value.partition("=")
    if not equals:
        return "a variable without a value is not set; write one into spec.env if the app needs it"
    reserved = name in RESERVED_NAMES or name.startswith((RESERVED_PREFIX, "RECONCILER_"))
    if not re.fullmatch(ENVIRONMENT_NAME_PATTERN, name) or reserved:
        return "the reconciler sets variables of such names itself; let the app read another one from spec.env"
    if LOOKS_SECRET.search(name.upper()):
        return reasons.HELD_BACK.format(name=name, file=f"secrets/{draft.name}.yaml", key=name.lower())
    draft.env[name] = value
    return None


def _plugins(option: Option, _draft: Draft) -> str | None:
    others = [name for name in re.split(r"[,\s]+", option.value) if not re.fullmatch(r"python[0-9.]*|http|", name)]
    if not others:
        return None
    return uwsgi_options.refusal("plugins") or "plugins come from the agent's configuration"


def _static(option: Option, draft: Draft) -> str | None:
    url, equals, path = option.value.partition("=")
    source = draft.below(path) if equals else None
    if source == ".":
        return reasons.WHOLE_FOLDER
    if source is None:
        where = "move the files into the app's folder, and name that in spec.static"
        return f"spec.static serves folders below the app's own, and this one is elsewhere; {where}"
    if holds_files_of_users(source) and url.strip("/"):
        draft.publish(f"/{url.strip('/')}/", source)
        return None
    draft.serve(f"/{url.strip('/')}/" if url.strip("/") else "/", source)
    return None


def _python_path(option: Option, draft: Draft) -> str | None:
    inside = draft.below(option.value)
    if inside is None:
        return "it is outside the app's folder, so that it is not in its repository; make it a requirement"
    # the app's folder is where Python looks anyway
    if inside != ".":
        draft.options.setdefault("pythonpath", []).append(inside)
    return None


def _mount(option: Option, _draft: Draft) -> str | None:
    if re.fullmatch(r"/=[^=]+", option.value):
        return None
    return "an app is served at the top of its names; give every mounted app a manifest of its own"


def _touch_files(_option: Option, _draft: Draft) -> str | None:
    return f"a commit starts a new release, and no file needs to be touched; {reasons.NOTHING}"


def _auto_reload(_option: Option, _draft: Draft) -> str | None:
    return f"a release never changes, and a commit makes a new one; {reasons.NOTHING}"


_CARRIERS: dict[str, Callable[[Option, Draft], str | None]] = {
    "processes": _processes,
    "workers": _processes,
    "threads": _threads,
    "chdir": _folder,
    "chdir2": _folder,
    "uid": _user,
    "gid": _group,
    "env": _environment,
    "plugins": _plugins,
    "plugin": _plugins,
    "need-plugin": _plugins,
    "need-plugins": _plugins,
    "static-map": _static,
    "pythonpath": _python_path,
    "python-path": _python_path,
    "pp": _python_path,
    "mount": _mount,
    **dict.fromkeys(OPTIONS_WITH_FILES, _touch_files),
    **dict.fromkeys(AUTO_RELOAD, _auto_reload),
}


def app_folder(ini: IniFile, path: str) -> str:
    """The absolute path of the folder that uWSGI runs the app in: its ``chdir``, else the folder of the file."""
    found = [o.value for o in ini.options if o.name in ("chdir", "chdir2") and o.unknown is None and o.inside is None]
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), found[-1] if found else "."))


def _carry_module(options: list[Option], draft: Draft) -> None:
    """``spec.uwsgi.module`` from ``module``, ``wsgi-file`` or a mount at the top, and from ``callable``."""
    callables = [option.value for option in options if option.name == "callable"]
    app = callables[-1] if callables else "application"
    for option in options:
        if option.name in ("module", "wsgi"):
            found = option.value if ":" in option.value else f"{option.value}:{app}"
        elif option.name in APP_FILES or (option.name == "mount" and option.value.startswith("/=")):
            value = option.value.removeprefix("/=") if option.name == "mount" else option.value
            found = _module_of_file(value, app, draft)
        else:
            continue
        if re.fullmatch(r"[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)*:[A-Za-z_][\w.]*(\(\))?", found):
            draft.module = draft.module or found
        elif draft.module is None:
            draft.leave(option.file, option.line, str(option), reasons.NO_CALLABLE)


def _module_of_file(value: str, app: str, draft: Draft) -> str:
    """``site/wsgi.py`` as ``site.wsgi:application``; what is no such file comes back as it is."""
    file, colon, own = value.partition(":")
    if not file.endswith(".py"):
        return value if colon else f"{value}:{app}"
    inside = draft.below(file)
    return f"{inside.removesuffix('.py').replace('/', '.')}:{own or app}" if inside is not None else value
