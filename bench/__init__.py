"""How fast the reconciler is: beside what its users would take instead, beside the floor, and as a host grows."""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

# worlds with a real nginx and a real Emperor are made in one place, for the tests and for this
sys.path.insert(0, str(CHECKOUT / "tests"))
