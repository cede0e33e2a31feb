"""Why a setting of a hand-made server is not carried over; what is to be done about it follows the last semicolon."""

from __future__ import annotations

NOTHING = "nothing to do"
"""How the reason ends for which a setting was left out that nobody will miss."""

ALWAYS_ON = f"it is on for every app; {NOTHING}"
ANOTHER_FOLDER = "the app runs in {folder}, as another line says; nothing to do, or name this one with --directory"
ANOTHER_PORT = "an app has one site; write a further `listen` into a template of your own (docs/templates.md)"
AS_ROOT = f"no app runs as root, but under an account of its own; {NOTHING}"
BESIDES = "an app has one site; write it into a template of your own (docs/templates.md) if visitors need it"
FROM_UWSGI = "uWSGI serves this folder, and knows no such setting; let the app answer where visitors need it"
GROUP = f"the app has the groups of its account, and nginx reaches its sockets without sharing one; {NOTHING}"
HELD_BACK = (
    "its name says that it is a secret; run `reconciler secrets edit {file}`, and write {name}: {file}#{key} into "
    "spec.secrets"
)
HTTP_ONLY = f"requests reach the app by the uwsgi protocol, not by HTTP; {NOTHING}"
LEADS_ELSEWHERE = "a redirect with a certificate or for names of its own; add the names to spec.nginx.serverNames"
LISTENS_ELSEWHERE = "the site listens on all addresses of the host; let a firewall close the port to others"
LOGIC = "logic is not carried over, nor what it decides about; write what holds on the new host into the manifest"
MISSING_FILE = "the file cannot be read here; adopt on the old server, or put a copy of it beside the site file"
NOT_THE_APPS = f"it does not lead to the app, and stays with the nginx that has it; {NOTHING}"
NO_ACCOUNT_NAME = "spec.user is the name of an account, not its number; write it, or leave it out to have one made"
NO_CALLABLE = "it cannot be written as module:callable; name the app with --module"
NO_PORT = "a site listens on a port; let what asks there ask at spec.nginx.listen"
NO_REQUEST = f"no request has such a path; {NOTHING}"
NO_SIZE = "it is no size that nginx knows; write one such as 10m into spec.nginx.clientMaxBodySize"
NO_URL = "spec.static has no way to write this path; serve the folder below a plain URL"
ONE_SERVER = f"an app has one server, of which nothing is balanced; {NOTHING}"
OTHER_HOST = "a site passes requests to its own host only; deploy the app there too, and balance before both"
OWN_LOG = f"the log has nginx's usual format and a place of its own (docs/logs.md); {NOTHING}"
OWN_TLS = f"a site with TLS has settings of its own for it (docs/tls.md); {NOTHING}"
PATTERN = "spec.static serves folders, not patterns; name the folder and its URL in spec.static"
PERCENT = "a value with '%(' cannot be written, because uWSGI would replace it; write it without, or leave it out"
RELATIVE = "the path is relative to nginx's own folder; write it whole into the site file, and adopt that"
TRIED_FILES = "files are served from folders with a URL; add them to spec.static"
UNKNOWN = "uWSGI has no option of this name and has passed over it; nothing to do, unless it is misspelt"
UNTOLD = (
    "other lines refer to it, and without uWSGI it cannot be told whether it is an option too; adopt on a host that "
    "has uWSGI"
)
UPLOADS_ELSEWHERE = (
    "nginx serves the folder as before, but in the system profile the app writes only to its own; if it writes here, "
    "`systemctl edit reconciler-emperor`: [Service] ReadWritePaths={folder}"
)
WHOLE_FOLDER = "it would publish the app's whole folder; name a folder in it, and its URL, in spec.static"
WITHOUT_CERTIFICATE = "no certificate and key are named by their absolute paths; write spec.nginx.tls"
