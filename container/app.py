"""The routes: which path is answered by what."""

import importlib.metadata
import logging
import platform
import time

import flask
import msgspec
from werkzeug.exceptions import InternalServerError

from container.error_answer import answer_error
from container.invoker import Invoker
from container.model_registry import ModelRegistry
from container.request_metrics import CONTENT_TYPE, Answered, RequestMetrics
from container.settings import Settings
from fm_algo.errors import FMError, UserError
from fm_algo.model import FMModel
from fm_algo.model_source import load_any_model

_MAX_TRANSFORM_MB = 100
"""The platform's limit for concurrency times payload of a transform job (CreateTransformJob)."""

_MAX_LOAD_REQUEST = 1 << 16
"""A name and a path, in bytes."""

_CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

_log = logging.getLogger(__name__)


class _LoadRequest(msgspec.Struct, frozen=True):
    """Body of ``POST /models``."""

    model_name: str
    url: str


def create_app(settings: Settings | None = None) -> flask.Flask:
    """Load the model and make the WSGI application that serves it.

    Parameters
    ----------
    settings : Settings, optional
        Instead of those of the environment.

    Returns
    -------
    flask.Flask
        To be made once, before workers are forked: they share the memory of the model.
    """
    settings = settings or Settings.from_environment()
    app = flask.Flask("container", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_LOAD_REQUEST  # of what Flask reads: not of invocations
    app.url_map.merge_slashes = False  # a redirect would turn POST into GET
    app.register_error_handler(Exception, answer_error)
    app.after_request(_pass_custom_attributes_back)
    _count_invocations(app, RequestMetrics(settings.metrics_directory))
    if settings.is_multi_model:
        model_text = "models are loaded on demand"
        _add_routes_of_many(app, Invoker(settings), ModelRegistry(settings.paths.models))
    else:
        model, model_text = _load(settings)
        _add_routes_of_one(app, Invoker(settings), model, model_text)

    @app.get("/execution-parameters")
    def execution_parameters() -> flask.Response:
        # No BatchStrategy: the SDK's local mode refuses the very words the platform asks for.
        payload_mb = settings.max_payload_mb
        allowed = max(_MAX_TRANSFORM_MB // max(payload_mb, 1), 1)
        concurrency = min(settings.num_workers, allowed)
        return _json({"MaxConcurrentTransforms": concurrency, "MaxPayloadInMB": payload_mb})

    _log.info(
        "Python %s, NumPy %s, gunicorn %s; workers: %d, port: %d; %s",
        platform.python_version(),
        *(importlib.metadata.version(name) for name in ("numpy", "gunicorn")),
        settings.num_workers,
        settings.port,
        model_text,
    )
    return app


def _load(settings: Settings) -> tuple[FMModel | None, str]:
    """Return the model and a line that describes it, or None and why there is none."""
    try:
        model = load_any_model(settings.paths.model)
    except FMError as error:
        # Not the end of the server: the platform asks it, and its users read the answer.
        _log.error("Unable to load model: %s", error.message)
        return None, f"Unable to load model: {error.message}"
    return model, (
        f"{model.predictor_type} of feature_dim {model.feature_dim}, "
        f"num_factors {model.num_factors}"
    )


def _add_routes_of_one(
    app: flask.Flask, invoke: Invoker, model: FMModel | None, model_text: str
) -> None:
    @app.get("/ping")
    def ping() -> flask.Response:
        if model is None:
            return flask.Response(model_text, 503, mimetype="text/plain")
        return flask.Response()

    @app.post("/invocations")
    def invocations() -> flask.Response:
        if model is None:
            raise InternalServerError(model_text)
        return invoke(model)


def _add_routes_of_many(app: flask.Flask, invoke: Invoker, models: ModelRegistry) -> None:
    @app.get("/ping")
    def ping() -> flask.Response:
        return flask.Response()

    @app.post("/models")
    def load() -> flask.Response:
        try:
            wanted = msgspec.json.decode(flask.request.get_data(), type=_LoadRequest)
        except msgspec.MsgspecError as error:
            raise UserError(f"the request to load a model cannot be read: {error}") from error
        models.load(wanted.model_name, wanted.url)
        return _json({"status": f'Model "{wanted.model_name}" registered'})

    @app.get("/models")
    def list_models() -> flask.Response:
        query = flask.request.args
        page, next_page_token = models.page(
            query.get("limit", 100, type=int), query.get("next_page_token", "")
        )
        listed = {"models": [{"modelName": name, "modelUrl": url} for name, url in page]}
        return _json(listed | ({"nextPageToken": next_page_token} if next_page_token else {}))

    # A name is whatever the platform chose, percent-encoded: a slash can be among it.
    @app.get("/models/<path:name>")
    def get_model(name: str) -> flask.Response:
        return _json({"modelName": name, "modelUrl": models.url(name)})

    @app.delete("/models/<path:name>")
    def unload(name: str) -> flask.Response:
        models.unload(name)
        return _json({"status": f'Model "{name}" unregistered'})

    @app.post("/models/<path:name>/invoke")
    def invoke_model(name: str) -> flask.Response:
        with models.borrow(name) as model:
            flask.g.model = name
            return invoke(model)


def _count_invocations(app: flask.Flask, metrics: RequestMetrics) -> None:
    @app.before_request
    def begin() -> None:
        flask.g.started = time.perf_counter()

    @app.after_request
    def count(response: flask.Response) -> flask.Response:
        if flask.request.endpoint in {"invocations", "invoke_model"}:
            elapsed_s = time.perf_counter() - flask.g.started
            model, num_rows = flask.g.get("model", ""), flask.g.get("num_rows", 0)
            metrics.count(Answered(model, response.status_code, num_rows, elapsed_s))
        return response

    @app.get("/metrics")
    def metrics_page() -> flask.Response:
        return flask.Response(metrics.page(), content_type=CONTENT_TYPE)


def _json(body: object) -> flask.Response:
    return flask.Response(msgspec.json.encode(body), content_type="application/json")


def _pass_custom_attributes_back(response: flask.Response) -> flask.Response:
    """Return the header that callers get back only if the container repeats it."""
    attributes = flask.request.headers.get(_CUSTOM_ATTRIBUTES, "")
    if attributes and len(attributes) <= 1024 and attributes.isascii() and attributes.isprintable():
        response.headers[_CUSTOM_ATTRIBUTES] = attributes
    return response
