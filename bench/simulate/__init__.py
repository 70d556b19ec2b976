"""A fleet in discrete events: would routing have paid, and does the router's own code find out?

Engines with continuous batching (`engine`), pass times rebuilt from measurements (`surfaces`), acceptance
processes (`drafting`) and traffic (`workload`) are simulated; the decisions are those of `policies`, the same
code that the service runs (`router`, `learned`). `experiment` plays all sides of a scenario on the same
requests with the same luck. Started by `specroute simulate`; see docs/simulator.md.
"""
