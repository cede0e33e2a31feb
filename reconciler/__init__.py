"""A pull-based GitOps reconciler for Python web apps on nginx and uWSGI."""

__version__ = "0.1.0"
