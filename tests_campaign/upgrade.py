"""Another version of the reconciler, for one agent: its own number, its templates, and the tools that it brings."""

from __future__ import annotations


def prepare(plan: dict[str, object]) -> None:
    """Be a newer version in this process."""
    import reconciler
    from reconciler.engine import settled
    from reconciler.host import environments, templates
    from reconciler.stages import nginx, static, vassal

    version = f"{reconciler.__version__}+{plan['version']}"
    reconciler.__version__ = settled.__version__ = version
    environments.PYUWSGI_REQUIREMENT = f"{environments.PYUWSGI_REQUIREMENT},!=2.0.{plan['version']}"
    shipped = templates.default_template

    def newer(name: str) -> str:
        return f"{shipped(name)}\n# {version}\n"

    nginx.default_template = vassal.default_template = newer
    del static
