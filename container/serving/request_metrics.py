"""What the server counts of its invocations, as ``GET /metrics`` tells it to Prometheus."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_LATENCY_BUCKETS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)


@dataclass(frozen=True, slots=True)
class Answered:
    """One invocation that has been answered.

    Attributes
    ----------
    model : str
        Name of the model at a multi-model endpoint, else "", which Prometheus takes for no label.
    status : int
        Of the answer.
    num_rows : int
        How many rows were scored.
    elapsed_s : float
        From the request's header to the answer, before it is sent.
    """

    model: str
    status: int
    num_rows: int
    elapsed_s: float


class RequestMetrics:
    """Counts invocations, and tells the counts of all workers together.

    Parameters
    ----------
    shared : str or None
        Directory in which each worker keeps its own counters, so that any of them can tell the sum
        of all. None: this process is the only one.
    """

    def __init__(self, shared: str | None) -> None:
        self._shared = shared
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "fm_requests", "Invocations by status.", ["model", "status"], registry=registry
        )
        self._rows = Counter("fm_rows", "Rows scored.", ["model"], registry=registry)
        self._latency = Histogram(
            "fm_request_duration_seconds",
            "Time from a request's header to its answer.",
            ["model"],
            registry=registry,
            buckets=_LATENCY_BUCKETS_S,
        )
        # Looking labels up takes as long as counting.
        self._found: dict[tuple[str, int], tuple[Counter, Counter, Histogram]] = {}

    def count(self, answered: Answered) -> None:
        """Count one invocation."""
        requests, rows, latency = self._of(answered.model, answered.status)
        requests.inc()
        rows.inc(answered.num_rows)
        latency.observe(answered.elapsed_s)

    def _of(self, model: str, status: int) -> tuple[Counter, Counter, Histogram]:
        found = self._found.get((model, status))
        if found is None:
            found = self._found[model, status] = (
                self._requests.labels(model, str(status)),
                self._rows.labels(model),
                self._latency.labels(model),
            )
        return found

    def page(self) -> bytes:
        """Return what all workers have counted so far, in Prometheus' text format."""
        if self._shared is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, self._shared)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
