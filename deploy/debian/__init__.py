"""The Debian package: the reconciler with an environment of its own, its units and its maintainer scripts."""
