"""What /metrics tells Prometheus of."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PATHS = ("/", "/predict", "/models", "/health", "/metrics", "/docs", "/openapi.json")


class Counters:
    """The figures of one server; texts and addresses are in none of them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "jaxbert_requests",
            "Answers, by path and status.",
            ["path", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "jaxbert_predict_seconds",
            "From a request that was taken to its answer, by model.",
            ["model"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.rows = Histogram(
            "jaxbert_batch_requests",
            "Requests that were computed together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )
        self.waiting = Gauge(
            "jaxbert_queue_requests", "Requests that wait.", registry=self.registry
        )
        self.ready = Gauge("jaxbert_ready", "1 when requests are taken.", registry=self.registry)

    def count(self, path: str, status: int) -> None:
        """Count an answer; paths that there are not are one."""
        self.requests.labels(path if path in PATHS else "other", str(status)).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
