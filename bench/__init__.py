"""Comparisons over HTTP, against a running service."""
