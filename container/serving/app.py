"""The web application: which path is answered by what."""

import importlib.metadata
import logging
import platform
from pathlib import Path

import flask
import msgspec
from werkzeug.exceptions import MethodNotAllowed, NotFound

from container.serving.error_answer import error_reply
from container.serving.front import Front
from container.serving.invoker import Invoker
from container.serving.model_registry import ModelRegistry, load_served_model
from container.serving.reply import CUSTOM_ATTRIBUTES, passed_back
from container.serving.request_metrics import CONTENT_TYPE, RequestMetrics
from container.serving.served import ModelsByName, OneModel, Served
from container.settings import Settings
from fm_algo.data.tables.named_model import NamedModel
from fm_algo.errors import FMError, UserError

SERVED = "served"
"""The name under which the application keeps its `Served` among its extensions."""

_MAX_TRANSFORM_MB = 100
"""The platform's limit for concurrency times payload of a transform job (CreateTransformJob)."""

_MAX_LOAD_REQUEST = 1 << 16
"""A name and a path, in bytes."""

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
    app.register_error_handler(Exception, _answer_error)
    app.after_request(_pass_custom_attributes_back)
    metrics = RequestMetrics(settings.metrics_directory)
    served: Served
    if settings.is_multi_model:
        models = ModelRegistry(settings.paths.models)
        _add_routes_of_many(app, models)
        served, what = ModelsByName(models), "models are loaded on demand"
    else:
        served, what = _load_one_model(settings.paths.model)
    app.extensions[SERVED] = served
    # Flask never gets to answer these, but has to know them where it tells of methods and paths.
    app.add_url_rule("/ping", "ping", methods=["GET"])
    app.add_url_rule(served.rule, "invocations", methods=["POST"])
    front = Front(served, Invoker(settings), metrics, others=app.wsgi_app)
    app.wsgi_app = front  # type: ignore[method-assign] # where Flask wants middleware

    @app.get("/metrics")
    def metrics_page() -> flask.Response:
        return flask.Response(metrics.page(), content_type=CONTENT_TYPE)

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
        what,
    )
    return app


def _load_one_model(directory: Path) -> tuple[OneModel, str]:
    """Load the model of an ordinary endpoint; say for the log what it is."""
    try:
        model = load_served_model(directory)
    except FMError as error:
        # Not the end of the server: the platform asks it, and its users read the answer.
        reason = f"Unable to load model: {error.message}"
        _log.error("%s", reason)
        return OneModel(None, reason=reason), reason
    sizes = f"feature_dim {model.feature_dim}, num_factors {model.num_factors}"
    if model.samples:
        sizes += f", {len(model.samples)} samples"
    if isinstance(model, NamedModel):
        sizes += f", {len(model.names.rows.names)} columns"
    return OneModel(model), f"{model.predictor_type} of {sizes}"


def _add_routes_of_many(app: flask.Flask, models: ModelRegistry) -> None:
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


def _answer_error(error: Exception) -> flask.Response:
    asked = f"{flask.request.method} {flask.request.path}"
    if isinstance(error, NotFound):
        rules = sorted({rule.rule for rule in flask.current_app.url_map.iter_rules()})
        error.description = f"{asked!r}: there is no such path, allowed: {', '.join(rules)}"
    elif isinstance(error, MethodNotAllowed):
        methods = ", ".join(sorted(error.valid_methods or ()))
        error.description = f"{asked!r}: the method is not allowed, allowed: {methods}"
    reply = error_reply(error, asked)
    return flask.Response(reply.body, reply.status, reply.headers, content_type=reply.content_type)


def _json(body: object) -> flask.Response:
    return flask.Response(msgspec.json.encode(body), content_type="application/json")


def _pass_custom_attributes_back(response: flask.Response) -> flask.Response:
    response.headers.extend(passed_back(flask.request.headers.get(CUSTOM_ATTRIBUTES, "")))
    return response
