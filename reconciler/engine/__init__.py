"""One pass of the reconciler: desired, observe, plan, apply, verify, record."""
