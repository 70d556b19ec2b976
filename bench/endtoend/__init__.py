"""Answers end to end, on real engines: plain, speculative at fixed k, vLLM's table, the router's choices."""
