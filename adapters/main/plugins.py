"""Policy controllers in this process: ``module:attribute``, a function or a coroutine function.

A function runs in a thread, at most ``THREADS`` at a time; one that never returns keeps its
thread, but neither the loop nor the end of the process waits for it.
"""

import asyncio
import contextlib
import importlib
import inspect
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import msgspec

from policy.first_use import FirstUseQuestion, NoAnswer

THREADS = 8
"""Functions of plug-ins that run at the same time."""


class Plugins:
    """The plug-ins that the configuration allows (``[first_use] plugins``)."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)
        self._found: dict[str, Callable[..., Any]] = {}
        self._loading: dict[str, asyncio.Future[Callable[..., Any]]] = {}
        self._free = THREADS

    async def ask(self, text: str, question: FirstUseQuestion) -> bytes:
        """Ask a plug-in and return its answer as JSON; raises NoAnswer."""
        if text not in self._allowed:
            raise NoAnswer(f"{text} is none of the plug-ins in [first_use] plugins")
        asked = msgspec.to_builtins(question)
        function = self._found.get(text) or await self._loaded(text)
        if inspect.iscoroutinefunction(function):
            answer = await function(asked)
        else:
            answer = await self._in_thread(function, asked)
        try:
            return msgspec.json.encode(answer)
        except (TypeError, ValueError, RecursionError) as error:
            raise NoAnswer(f"{text} answered what is no JSON: {error}") from error

    async def _loaded(self, text: str) -> Callable[..., Any]:
        """Import a plug-in, in one thread whoever waits; those that are stuck hold up none."""
        loading = self._loading.get(text)
        if loading is None:
            loading = _in_thread(partial(self._loading.pop, text), _load, text)
            loading.add_done_callback(_look)  # whoever asked may have gone
            self._loading[text] = loading
        found = self._found[text] = await asyncio.shield(loading)
        return found

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in a thread, of which there are a few."""
        if not self._free:
            raise NoAnswer(f"{THREADS} plug-ins are at work already")
        self._free -= 1
        return await _in_thread(self._freed, function, *arguments)

    def _freed(self) -> None:
        self._free += 1


def _in_thread(
    done: Callable[[], object], function: Callable[..., Any], *arguments: Any
) -> asyncio.Future[Any]:
    """Call a function in a thread of its own, which nobody waits for at the end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        done()
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(NoAnswer(f"{type(error).__name__}: {error}"))

    def work() -> None:
        result, error = None, None
        try:
            result = function(*arguments)
        except BaseException as raised:  # even SystemExit ends no more than this question
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="hilum plug-in", daemon=True).start()
    return future


def _look(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def _load(text: str) -> Callable[..., Any]:
    """Import a plug-in; its module may do anything, so this runs in a thread too."""
    module, _, attribute = text.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    if not callable(found):
        raise TypeError(f"{text} cannot be called")
    return found
