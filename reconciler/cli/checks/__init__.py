"""What ``doctor`` looks at. Every check returns rows and raises nothing."""
