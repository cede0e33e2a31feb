"""All checks of ``doctor``, in the order in which they are shown."""

from __future__ import annotations

import os
import platform

from reconciler import __version__
from reconciler.cli.checks.certificates import check_certificates
from reconciler.cli.checks.place import check_configuration_missing, check_kernel, check_place
from reconciler.cli.checks.programs import check_programs
from reconciler.cli.checks.row import Row, ok
from reconciler.cli.checks.system import check_system
from reconciler.cli.invocation import Invocation
from reconciler.cli.wiring import CONFIGURATION_VARIABLE
from reconciler.host.system_layout import SystemLayout
from reconciler.model.errors import ConfigurationError


def examine(invocation: Invocation) -> tuple[Row, ...]:
    """Every row; a configuration that is named but cannot be read is a failure, one that nobody named is not."""
    rows = [ok("reconciler", f"{__version__} on Python {platform.python_version()}")]
    try:
        installation = invocation.installation()
    except ConfigurationError as error:
        named = invocation.config is not None or CONFIGURATION_VARIABLE in os.environ
        missing = check_configuration_missing(error, named=named)
        return (*rows, *check_programs(system=False), missing, *check_kernel())
    layout = installation.layout
    rows += check_programs(system=isinstance(layout, SystemLayout))
    rows += check_place(installation)
    rows += check_certificates(installation)
    if isinstance(layout, SystemLayout):
        rows += check_system(layout)
    return (*rows, *check_kernel())
