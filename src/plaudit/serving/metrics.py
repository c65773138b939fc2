"""What `/metrics` tells: how much is asked, how it goes, how long it takes, how much waits."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one service; `queued` tells how many completions wait."""

    def __init__(self, queued: Callable[[], float]) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "plaudit_requests", "Requests answered.", ["endpoint", "status"], registry=registry
        )
        self.seconds = Histogram(
            "plaudit_request_seconds", "From the head of a request to its answer.", ["endpoint"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.queue_seconds = Histogram(
            "plaudit_queue_seconds", "Until the first completion of a request goes into a batch.",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.completions = Counter("plaudit_completions", "Completions scored.", registry=registry)
        self.tokens = Counter(
            "plaudit_tokens", "Tokens that the model worked on.", registry=registry
        )
        self.truncated = Counter(
            "plaudit_truncated_completions", "Completions that were truncated.", registry=registry
        )
        self.batch_completions = Histogram(
            "plaudit_batch_completions", "Completions of a batch.", buckets=SIZES, registry=registry
        )
        self.queue = Gauge("plaudit_queue_completions", "Completions that wait.", registry=registry)
        self.queue.set_function(queued)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)
