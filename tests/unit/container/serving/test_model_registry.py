import errno
import threading

import numpy as np
import pytest

from container.serving import model_registry
from container.serving.model_registry import ModelRegistry
from fm_algo.artifacts.artifact import save_model
from fm_algo.errors import UserError
from fm_algo.model import FMModel


@pytest.fixture
def url(tmp_path):
    model = FMModel(
        "regressor",
        np.ones(1, np.float32),
        np.zeros(3, np.float32),
        np.zeros((3, 2), np.float32),
    )
    save_model(tmp_path, model, {})
    return str(tmp_path)


@pytest.fixture
def registry(tmp_path):
    return ModelRegistry(tmp_path)


def status_of(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return caught.value.http_status


def test_a_loaded_model_can_be_borrowed(registry, url):
    registry.load("a", url)

    with registry.borrow("a") as model:
        assert model.feature_dim == 3
    assert registry.url("a") == url


@pytest.mark.parametrize("url", ["/", "", "..", "{root}/../elsewhere", "{root}/link", "a\0b"])
def test_nothing_is_loaded_from_outside_the_root(registry, tmp_path, url):
    (tmp_path / "link").symlink_to(tmp_path.parent)

    assert status_of(registry.load, "a", url.format(root=tmp_path)) == 400
    assert registry.page(10, "") == ([], "")


def test_a_model_needs_a_name(registry, url):
    assert status_of(registry.load, "", url) == 400


def test_an_unloaded_model_is_gone(registry, url):
    registry.load("a", url)
    registry.unload("a")

    for call in (registry.url, registry.unload, lambda name: registry.borrow(name).__enter__()):
        assert status_of(call, "a") == 404


def test_a_name_is_taken_while_its_model_is_being_loaded(registry, url, monkeypatch):
    is_loading, may_go_on = threading.Event(), threading.Event()
    load_model = model_registry.load_any_stored_model

    def load_slowly(directory):
        is_loading.set()
        may_go_on.wait(10)
        return load_model(directory)

    monkeypatch.setattr(model_registry, "load_any_stored_model", load_slowly)
    loading = threading.Thread(target=registry.load, args=("a", url))
    loading.start()
    is_loading.wait(10)

    assert status_of(registry.load, "a", url) == 409
    assert status_of(registry.url, "a") == 404
    may_go_on.set()
    loading.join(10)
    assert registry.url("a") == url


def test_unloading_waits_until_the_model_is_given_back(registry, url):
    registry.load("a", url)
    with registry.borrow("a"):
        unloading = threading.Thread(target=registry.unload, args=("a",))
        unloading.start()
        unloading.join(0.1)
        assert unloading.is_alive()
        assert status_of(registry.url, "a") == 404
    unloading.join(10)
    assert not unloading.is_alive()


def test_a_model_is_given_back_when_its_request_fails(registry, url):
    registry.load("a", url)

    with pytest.raises(ZeroDivisionError), registry.borrow("a"):
        raise ZeroDivisionError

    registry.unload("a")


def test_the_memory_of_an_unloaded_model_is_free(registry, url):
    def is_mapped():
        with open("/proc/self/maps") as maps:  # noqa: PTH123 - not a file of the project
            return any(url in line for line in maps)

    registry.load("a", url)
    with registry.borrow("a"):
        assert is_mapped()
    registry.unload("a")
    assert not is_mapped()


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (MemoryError(), 507),
        (OSError(errno.ENOMEM, "no memory"), 507),
        (OSError(errno.EMFILE, "too many open files"), 507),
        (OSError(errno.EACCES, "not yours"), 500),
        (None, 500),
    ],
)
def test_a_model_without_room_is_507_and_one_that_cannot_be_read_is_500(
    registry, url, monkeypatch, failure, status
):
    def fail(directory):
        if isinstance(failure, MemoryError):
            raise failure
        raise UserError(f"{directory} is bad") from failure

    with monkeypatch.context() as patch:
        patch.setattr(model_registry, "load_any_stored_model", fail)
        assert status_of(registry.load, "a", url) == status
    registry.load("a", url)


def test_pages_follow_each_other_by_name(registry, url):
    for name in ("c", "a", "b"):
        registry.load(name, url)

    assert registry.page(2, "") == ([("a", url), ("b", url)], "b")
    assert registry.page(2, "b") == ([("c", url)], "")
    assert registry.page(3, "") == ([("a", url), ("b", url), ("c", url)], "")
    assert registry.page(9, "z") == ([], "")
    assert status_of(registry.page, 0, "") == 400


def test_a_page_goes_on_where_it_was_though_models_come_and_go(registry, url):
    for name in ("a", "b", "d"):
        registry.load(name, url)
    _, token = registry.page(2, "")
    registry.unload("b")
    registry.load("c", url)

    assert registry.page(2, token) == ([("c", url), ("d", url)], "")
