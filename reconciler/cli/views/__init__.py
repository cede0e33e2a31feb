"""How results look: from values to lines and tables, without printing anything."""
