"""The job of the reconciler for one app, as a deploy of pyinfra: code, environment, static files, site, vassal."""

from __future__ import annotations

from pathlib import Path

import yaml
from pyinfra import host
from pyinfra.operations import files, git, pip, server

home, origin, nginx = host.data.home, host.data.origin, host.data.nginx
settings = yaml.safe_load((Path(origin) / "site.yml").read_text())

code = git.repo(name="Code", src=origin, dest=f"{home}/source", branch="main")
pip.venv(name="Environment", path=f"{home}/environment", python=host.data.python)
pip.packages(name="Requirements", requirements=f"{origin}/app/requirements.txt", virtualenv=f"{home}/environment")
files.sync(name="Static files", src=f"{origin}/app/static", dest=f"{home}/static")
site = files.template(
    name="Site of nginx",
    src=f"{origin}/site.conf.j2",
    dest=f"{home}/sites/blog.conf",
    home=home,
    http_port=host.data.http_port,
    **settings,
)
files.template(
    name="Vassal",
    src=f"{origin}/vassal.ini.j2",
    dest=f"{home}/vassals/blog.ini",
    home=home,
    packages=host.data.packages,
)
server.shell(
    name="Reload nginx",
    commands=[f"{nginx} -t -c {home}/nginx.conf", f"{nginx} -s reload -c {home}/nginx.conf"],
    _if=site.did_change,
)
server.shell(
    name="Reload the app",
    commands=[f"touch {home}/vassals/blog.ini"],
    _if=code.did_change,
)
