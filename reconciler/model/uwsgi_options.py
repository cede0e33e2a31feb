"""Which uWSGI options a manifest may not set.

Some never, because the reconciler sets them or they would undo its work. Others, which run commands, load code into
uWSGI or open ways to it, only where the agent's configuration allows them by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import translate

EXPANSIONS = ("$(", "@(", "%(")
"""What uWSGI replaces in a value that it reads."""

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
    ("ns", _EARLY),
    ("ns-*", _EARLY),
    ("chmod", _SOCKETS),
    ("chown", _SOCKETS),
    ("js", _OTHER_SETTINGS),
    ("xmlconfig", _OTHER_SETTINGS),
    ("log-backupname", _LOGS),
    ("logfile-ch*", _LOGS),
    ("log-reopen", _LOGS),
    ("log-master*", _LOGS),
    ("no-server", _LIFE),
    ("command-mode", _LIFE),
    ("force-gateway", _LIFE),
    ("imperial-*", _LIFE),
    ("heartbeat", _LIFE),
    ("*-uid", _ACCOUNT),
    ("*-gid", _ACCOUNT),
)

ALLOW = "; allow.uwsgiOptions of agent.yaml may allow it"
_COMMANDS = "it runs commands; use spec.hooks" + ALLOW
_CODE = "it loads code into uWSGI itself; let the app import it" + ALLOW
_PROCESSES = "it starts processes beside the app's workers" + ALLOW
_FILES = (
    "it publishes files of the host; use spec.static, or static-map with a folder of spec.shared, such as "
    "'/media/=media'" + ALLOW
)
_NETWORK = "it opens another way to the app, or sends to other hosts" + ALLOW

_REFUSED_BY_DEFAULT: tuple[tuple[str, str], ...] = tuple(
    (pattern, sentence)
    for sentence, patterns in (
        (
            _COMMANDS,
            "exec-* hook-* after-request-* call-* *cron cron2 cron-* legion* touch-exec touch-signal fs-signal "
            "alarm* *-alarm worker-exec* binsh log-route log-req-route file-write exception-handler print-sym* "
            "jailed",
        ),
        (
            _CODE,
            "plugin* need-plugin* autoload build-plugin dlopen symcall* import *-import *pyimport pyrun pyshell* "
            "python py py-executable py-sys-executable python-worker-override python-raw *pymodule-alias "
            "paste-logger rrdtool* loop metric rpc-* allowed-modifiers remap-modifier cgi* php* psgi* perl* lua* "
            "jvm* ring* "
            "rack* rails* ruby* rb* mono* v8* erlang* go-* gccgo* xslt* webdav* glusterfs* rados* asyncio*",
        ),
        (
            _PROCESSES,
            "attach-* smart-attach-* daemons-* mule mules farm farms spooler* fastrouter* rawrouter* sslrouter* "
            "forkptyrouter* http-processes http-workers gateway*",
        ),
        (
            _FILES,
            "static-map* check-static* static-check* docroot fileserve-mode file-serve-mode load-file-in-cache* "
            "add-cache-item cache-store*",
        ),
        (
            _NETWORK,
            "udp multicast* snmp* subscribe* st subscription* subscriptions* cache-udp-* cache-sync cache2 "
            "stats-push* carbon* nagios ping* rsyslog* sharedarea http-stats* http-ss http-subscription* http-zerg "
            "http-fallback* http-use-* http-var http-resubscribe tuntap*",
        ),
    )
    for pattern in patterns.split()
)

_ANY = re.compile("|".join(f"({translate(pattern)})" for pattern, _ in (*_SET_ELSEWHERE, *_REFUSED_BY_DEFAULT)))


def refusal(option: str, allowed: Collection[str] = ()) -> str | None:
    """What to do in place of setting ``option``; None when a manifest may set it.

    ``allowed`` are those that the agent's configuration allows; the ones that the reconciler sets stay refused.
    """
    match = _ANY.match(option)
    if match is None or match.lastindex is None:
        return None
    number = match.lastindex - 1
    if number < len(_SET_ELSEWHERE):
        return _SET_ELSEWHERE[number][1]
    return None if option in allowed else _REFUSED_BY_DEFAULT[number - len(_SET_ELSEWHERE)][1]


def is_settable(option: str) -> bool:
    """Whether the agent's configuration may allow an option that is refused by default."""
    return refusal(option, (option,)) is None
