"""Which uWSGI options a manifest may not set, because the reconciler sets them or they would undo its work."""

from __future__ import annotations

import re
from fnmatch import translate

_SOCKETS = "the reconciler gives every release its own sockets"
_FOLDER = "use spec.source.directory"
_ENVIRONMENT = "use spec.build.python and spec.build.requirements"
_MODULE = "use spec.uwsgi.module"
_ACCOUNT = "the account belongs to spec.user"
_LOGS = "the reconciler keeps the log, and `reconciler logs` shows it"
_LIFE = "the reconciler and the Emperor start, stop and watch the app"
_OTHER_SETTINGS = "settings come from the manifest alone"
_EARLY = "it would act outside the app; use spec.hooks"

_SET_ELSEWHERE: tuple[tuple[str, str], ...] = (
    ("?", "write the option's long name"),
    ("module", _MODULE),
    ("wsgi", _MODULE),
    ("wsgi-file", _MODULE),
    ("file", _MODULE),
    ("eval", _MODULE),
    ("callable", _MODULE),
    ("mount", _MODULE),
    ("worker-mount", _MODULE),
    ("paste", _MODULE),
    ("ini-paste*", _MODULE),
    ("pecan", _MODULE),
    ("web3", _MODULE),
    ("pump", _MODULE),
    ("wsgi-lite", _MODULE),
    ("processes", "use spec.uwsgi.processes"),
    ("workers", "use spec.uwsgi.processes"),
    ("threads", "use spec.uwsgi.threads"),
    ("socket", _SOCKETS),
    ("*-socket", _SOCKETS),
    ("http", _SOCKETS),
    ("https", _SOCKETS),
    ("http-to", _SOCKETS),
    ("httprouter", _SOCKETS),
    ("fastrouter", _SOCKETS),
    ("rawrouter", _SOCKETS),
    ("protocol", _SOCKETS),
    ("socket-protocol", _SOCKETS),
    ("zerg*", _SOCKETS),
    ("stats", _SOCKETS),
    ("stats-server", _SOCKETS),
    ("stats-http", _SOCKETS),
    ("chdir", _FOLDER),
    ("chdir2", _FOLDER),
    ("force-cwd", _FOLDER),
    ("virtualenv", _ENVIRONMENT),
    ("venv", _ENVIRONMENT),
    ("home", _ENVIRONMENT),
    ("pyhome", _ENVIRONMENT),
    ("env", "use spec.env"),
    ("envdir", "use spec.env"),
    ("early-envdir", "use spec.env"),
    ("unenv", "use spec.env"),
    ("uid", _ACCOUNT),
    ("gid", _ACCOUNT),
    ("add-gid", _ACCOUNT),
    ("immediate-uid", _ACCOUNT),
    ("immediate-gid", _ACCOUNT),
    ("no-initgroups", _ACCOUNT),
    ("chroot", _ACCOUNT),
    ("pivot*root", _ACCOUNT),
    ("drop-after-*", _ACCOUNT),
    ("master-as-root", _ACCOUNT),
    ("logto*", _LOGS),
    ("logger*", _LOGS),
    ("req-logger", _LOGS),
    ("log-syslog", _LOGS),
    ("daemonize*", _LIFE),
    ("pidfile*", _LIFE),
    ("safe-pidfile*", _LIFE),
    ("master", _LIFE),
    ("master-fifo", _LIFE),
    ("need-app", _LIFE),
    ("emperor*", _LIFE),
    ("early-emperor", _LIFE),
    ("vassal-*", _LIFE),
    ("vassals-*", _LIFE),
    ("binary-path", _LIFE),
    ("procname*", _LIFE),
    ("auto-procname", _LIFE),
    ("exit", _LIFE),
    ("stop", _LIFE),
    ("reload", _LIFE),
    ("pause", _LIFE),
    ("die-on-idle", _LIFE),
    ("ini", _OTHER_SETTINGS),
    ("xml", _OTHER_SETTINGS),
    ("yaml", _OTHER_SETTINGS),
    ("yml", _OTHER_SETTINGS),
    ("json", _OTHER_SETTINGS),
    ("config", _OTHER_SETTINGS),
    ("config-py", _OTHER_SETTINGS),
    ("fallback-config", _OTHER_SETTINGS),
    ("inherit*", _OTHER_SETTINGS),
    ("include*", _OTHER_SETTINGS),
    ("inject-*", _OTHER_SETTINGS),
    ("strict", _OTHER_SETTINGS),
    ("set*", _OTHER_SETTINGS),
    ("declare-option*", _OTHER_SETTINGS),
    ("for", _OTHER_SETTINGS),
    ("for-*", _OTHER_SETTINGS),
    ("end*", _OTHER_SETTINGS),
    ("if-*", _OTHER_SETTINGS),
    ("if*", _OTHER_SETTINGS),
    ("*-asap", _EARLY),
    ("*-jail", _EARLY),
    ("*-as-root", _EARLY),
    ("*-as-emperor*", _EARLY),
    ("*-as-vassal*", _EARLY),
    ("hook-emperor-*", _EARLY),
    ("*privileged-binary-patch*", _EARLY),
    ("unshare*", _EARLY),
    ("cgroup*", _EARLY),
    ("namespace*", _EARLY),
    ("plugin-dir", _EARLY),
    ("plugins-dir", _EARLY),
    ("dlopen", _EARLY),
)


_ANY = re.compile("|".join(f"({translate(pattern)})" for pattern, _ in _SET_ELSEWHERE))


def refusal(option: str) -> str | None:
    """What to do in place of setting ``option``; None when a manifest may set it."""
    match = _ANY.match(option)
    return _SET_ELSEWHERE[match.lastindex - 1][1] if match and match.lastindex else None
