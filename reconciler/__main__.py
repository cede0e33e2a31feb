"""``python -m reconciler`` is the command ``reconciler``."""

import sys

from reconciler.cli.main import main

sys.exit(main())
