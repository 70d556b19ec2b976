"""Comparisons: over HTTP against a running service, and in a simulated fleet."""
