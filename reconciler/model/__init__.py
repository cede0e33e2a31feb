"""Pure values and decisions: nothing in this package reads or writes anything."""
