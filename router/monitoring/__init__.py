"""What an operator's Prometheus and Grafana get: the list of metrics, recording rules, alerts, a dashboard.

`python -m router.monitoring` writes them to docs/metrics.md and k8s/monitoring; nothing of it runs in the
service.
"""
