"""What is imported while a server answers is imported in one thread, one after the other."""

import asyncio
import importlib
import threading
from typing import Any

import pytest

from tidemill_runtime import late_imports
from tidemill_runtime.predictionlog.client import MonitorClient
from tidemill_runtime.server.http.lazy_app import LazyApp


async def test_the_application_and_the_monitors_client_are_imported_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []
    both_wait = threading.Event()
    client, application = MonitorClient("http://127.0.0.1:9"), LazyApp(lambda: imported(any_app))
    import_module = importlib.import_module

    def imported(result: Any) -> Any:
        assert both_wait.wait(20)  # the second is asked for before the first is done
        threads.append(threading.current_thread())
        return result

    async def any_app(scope: Any, receive: Any, send: Any) -> None:
        pass

    monkeypatch.setattr(
        importlib,
        "import_module",
        lambda name, *rest: imported(object()) if name == "aiohttp" else import_module(name, *rest),
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(client.load())
        group.create_task(application({}, None, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        both_wait.set()
    assert len(threads) == 2
    assert threads[0] is threads[1]
    assert threads[0] is not threading.current_thread()


async def test_an_error_is_passed_on_and_the_thread_goes_on() -> None:
    with pytest.raises(ZeroDivisionError):
        await late_imports.run(lambda: 1 // 0)
    assert await late_imports.run(lambda: 7) == 7
