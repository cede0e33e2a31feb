"""From a folder of an app's static files to the immutable output that nginx serves.

One module a step: collecting, minifying (in :mod:`~reconciler.host.assets.minifier`, a process of its own),
bundling, fingerprinting, precompressing; :mod:`~reconciler.host.assets.processing` runs them in that order.
"""

from reconciler.host.assets.fingerprinting import MANIFEST_NAME
from reconciler.host.assets.processing import AssetReport, process, tool_versions

__all__ = ["MANIFEST_NAME", "AssetReport", "process", "tool_versions"]
