"""The service: HTTP API, task classification, statistics, telemetry and the command line."""
