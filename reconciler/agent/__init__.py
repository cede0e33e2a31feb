"""The long-running agent: what starts a pass, and when."""
