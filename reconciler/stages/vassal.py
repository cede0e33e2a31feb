"""The vassal stage: the files that make uWSGI run one release, started beside what serves now."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping

from reconciler.host.distribution_uwsgi import PLUGIN
from reconciler.host.layout import SOCKET_PATH_BYTES, Layout
from reconciler.host.observing import Observer
from reconciler.host.owners import account_number
from reconciler.host.releases import (
    ENVIRONMENT_MODE,
    ini_mode,
    lay_out_release,
    link_text,
    release_target,
    write_vassal,
)
from reconciler.host.sealing import seal_of
from reconciler.host.templates import default_template
from reconciler.model.errors import StageFailed
from reconciler.model.manifest import Spec, Strategy
from reconciler.model.sealed_environment import open_environment, seal_environment
from reconciler.model.stage import (
    SECRET_PREFIX,
    AppliedStage,
    DesiredStage,
    DifferenceKind,
    Inputs,
    Observation,
    StageName,
    release_of,
)
from reconciler.model.vassal_environment import render_environment
from reconciler.stages.app_folder import TREE, app_folder, environment_folder
from reconciler.stages.stage import Facts, Work

TEMPLATE = "vassal.ini.j2"


class VassalStage:
    """Inputs: how uWSGI runs the app, its environment, and the digests of source, build and static files.

    The static files are an input because an app may read its fingerprint manifest at start, and because code and
    assets must move in one instant: a release is one set of outputs.
    """

    name = StageName.VASSAL

    def inputs(self, facts: Facts) -> Inputs:
        """Name the inputs."""
        spec = facts.manifest.spec
        _check_socket_paths(facts)
        return Inputs(
            self.name,
            {
                "app": facts.app,
                "user": facts.account,
                "uwsgi": facts.uwsgi,
                "uwsgi.module": spec.uwsgi.module,
                "uwsgi.processes": str(spec.uwsgi.processes),
                "uwsgi.threads": str(spec.uwsgi.threads),
                "uwsgi.strategy": spec.uwsgi.strategy,
                "uwsgi.drain": f"{spec.uwsgi.drain.total_seconds():g}s",
                **{f"uwsgi.options.{name}": json.dumps(value) for name, value in spec.uwsgi.options.items()},
                **{f"env.{name}": json.dumps(value) for name, value in spec.env.items()},
                **{f"{SECRET_PREFIX}{name}": value for name, value in _seals(facts).items()},
            },
            {name: facts.upstream[name] for name in (StageName.SOURCE, StageName.BUILD, StageName.STATIC)},
            tools={"template": hashlib.sha256(default_template(TEMPLATE).encode()).hexdigest()},
        )

    def files(self, facts: Facts, digest: str) -> Mapping[str, str]:
        """The vassal's settings and its environment."""
        from reconciler.model.rendering import render  # noqa: PLC0415  Jinja2: only where something changed

        release = release_of(digest)
        spec = facts.manifest.spec
        # both the wheel and an app that compiles its own uWSGI install a program of this name
        environment = environment_folder(facts.layout, facts.upstream)
        text = render(default_template(TEMPLATE), vassal_context(facts, release), name=TEMPLATE)
        variables = {
            # the checkout is immutable: the app's processes must not put bytecode into it
            "PYTHONDONTWRITEBYTECODE": "1",
            **_account_variables(facts),
            **spec.env,
            "RECONCILER_APP": facts.app,
            "RECONCILER_RELEASE": release,
            "RECONCILER_STATIC": str(facts.layout.release(facts.app, release) / "static"),
        }
        distribution = facts.host.distribution_uwsgi
        binary = environment / "bin" / "uwsgi" if distribution is None else distribution().binary
        plain = render_environment(variables, binary)
        return {f"{facts.app}.ini": text, f"{facts.app}.env": seal_environment(plain, _seals(facts))}

    def observe(
        self, app: str, applied: AppliedStage | None, desired: AppliedStage | DesiredStage, observer: Observer
    ) -> Observation:
        """Whether the applied vassal's files, its socket and the public link are as they were left."""
        del desired
        if applied is None:
            return Observation(output_exists=False)
        layout = observer.layout
        vassal, release = vassal_of(app, applied), release_of(applied.digest)
        home, links = (
            layout.release(app, release),
            observer.remembered(app, applied.digest, lambda: release_links(app, applied, layout)),
        )
        # a vassal is run as the owner of its file
        owner = account_number(user) if (user := applied.declared.get("user")) else None
        differences = [
            *observer.text(
                layout.vassals / f"{vassal}.ini",
                applied.files[f"{app}.ini"],
                mode=ini_mode(own=owner is not None),
                owner=owner,
            ),
            *observer.environment(
                layout.vassals / f"{vassal}.env",
                applied.files[f"{app}.env"],
                app=app,
                mode=ENVIRONMENT_MODE,
                owner=owner,
            ),
            *observer.link(layout.public_link(app), release_target(app, release)),
            *(found for name, target in links.items() for found in observer.link(home / name, target)),
            *observer.extras(home, links),
        ]
        missing = any(difference.kind is DifferenceKind.MISSING for difference in differences)
        return Observation(not missing, tuple(differences))

    def apply(self, work: Work) -> None:
        """Lay the release's folder out and write the vassal: the Emperor starts it beside the one that serves."""
        facts = work.facts
        release = release_of(work.desired.digest)
        spec = facts.manifest.spec
        vassal = vassal_name(facts.app, release, spec.uwsgi.strategy)
        account = facts.settle()
        lay_out_release(
            facts.layout,
            facts.app,
            release,
            web=facts.layout.socket(vassal, "web"),
            static=facts.layout.output(StageName.STATIC, facts.upstream[StageName.STATIC]),
            folder=app_folder(facts.layout, spec, facts.upstream),
        )
        ini, sealed = work.desired.files[f"{facts.app}.ini"], work.desired.files[f"{facts.app}.env"]
        write_vassal(facts.layout, vassal, ini, open_environment(sealed, facts.secrets), account)


def vassal_name(app: str, release: str, strategy: str) -> str:
    """One vassal per release for ``switch``, one per app for ``touch``."""
    return app if strategy == Strategy.TOUCH else f"{app}.{release}"


def vassal_of(app: str, applied: AppliedStage) -> str:
    """The name of the vassal that was applied."""
    return vassal_name(app, release_of(applied.digest), applied.declared.get("uwsgi.strategy", Strategy.SWITCH))


def release_links(app: str, applied: AppliedStage, layout: Layout) -> Mapping[str, str]:
    """The links in the folder of an applied release, and where each of them leads."""
    tree = layout.output(StageName.BUILD, applied.upstream[StageName.BUILD]) / TREE
    # only an app with build commands runs in what they left
    runs_in_tree = f"{tree}\n" in applied.files[f"{app}.ini"]
    folder = tree if runs_in_tree else layout.output(StageName.SOURCE, applied.upstream[StageName.SOURCE])
    static = layout.output(StageName.STATIC, applied.upstream[StageName.STATIC])
    web = layout.socket(vassal_of(app, applied), "web")
    return {name: link_text(layout, target) for name, target in (("web", web), ("static", static), ("app", folder))}


def vassal_context(facts: Facts, release: str) -> dict[str, object]:
    """What the vassal template is rendered from."""
    spec: Spec = facts.manifest.spec
    layout = facts.layout
    vassal = vassal_name(facts.app, release, spec.uwsgi.strategy)
    return {
        "vassal": vassal,
        "app": facts.app,
        "release": release,
        "chdir": str(app_folder(layout, spec, facts.upstream)),
        "module": spec.uwsgi.module,
        "virtualenv": str(environment_folder(layout, facts.upstream)),
        "processes": spec.uwsgi.processes,
        "threads": spec.uwsgi.threads,
        "reload_mercy": max(1, math.ceil(spec.uwsgi.drain.total_seconds())),
        "strategy": spec.uwsgi.strategy.value,
        "options": {name: _option_values(value) for name, value in spec.uwsgi.options.items()},
        "web_socket": str(layout.socket(vassal, "web")),
        "http_socket": str(layout.socket(vassal, "http")),
        "stats_socket": str(layout.socket(vassal, "stats")),
        "log": str(layout.app_log(facts.app)),
        **({"plugins": PLUGIN} if facts.uwsgi else {}),
        **_account_context(facts, vassal),
    }


def _account_variables(facts: Facts) -> dict[str, str]:
    """What a login would set, for an app with an account of its own; the wrapper sets the agent's otherwise."""
    name = facts.account
    home = str(facts.layout.shared(facts.app))
    return {"HOME": home, "USER": name, "LOGNAME": name} if name else {}


def _account_context(facts: Facts, vassal: str) -> dict[str, object]:
    if not facts.account:
        return {}
    return {"wrapper": str(facts.layout.wrapper), "pid_file": str(facts.layout.socket(vassal, "pid"))}


def _seals(facts: Facts) -> dict[str, str]:
    """A keyed hash of every secret, by the name of its variable."""
    if not facts.secrets:
        return {}
    seal = seal_of(facts.layout.root)
    return {name: seal.hash(facts.app, name, secret.reveal()) for name, secret in facts.secrets.items()}


def _option_values(value: object) -> list[str]:
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, tuple | list):
        return [str(item) for item in value]
    return [str(value)]


def _check_socket_paths(facts: Facts) -> None:
    layout: Layout = facts.layout
    longest = max(
        len(str(layout.socket(f"{facts.app}.{'0' * 12}", "stats")).encode()),
        len(str(layout.public_link(facts.app) / "web").encode()),
    )
    if longest > SOCKET_PATH_BYTES:
        raise StageFailed(
            f"a socket of {facts.app} would have a path of {longest} bytes, Linux allows {SOCKET_PATH_BYTES}",
            hint=f"choose a shorter `root` in agent.yaml (now {layout.root}) or a shorter app name",
        )
