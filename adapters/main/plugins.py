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
        self._free = THREADS

    async def ask(self, text: str, question: FirstUseQuestion) -> bytes:
        """Ask a plug-in and return its answer as JSON; raises NoAnswer."""
        if text not in self._allowed:
            raise NoAnswer(f"{text} is none of the plug-ins in [first_use] plugins")
        asked = msgspec.to_builtins(question)
        function = self._found.get(text)
        if function is None:
            function = self._found[text] = await self._in_thread(_load, text)
        if inspect.iscoroutinefunction(function):
            answer = await function(asked)
        else:
            answer = await self._in_thread(function, asked)
        try:
            return msgspec.json.encode(answer)
        except (TypeError, ValueError, RecursionError) as error:
            raise NoAnswer(f"{text} answered what is no JSON: {error}") from error

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in a thread of its own, which nobody waits for at the end."""
        if not self._free:
            raise NoAnswer(f"{THREADS} plug-ins are at work already")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._free -= 1

        def settle(result: Any, error: BaseException | None) -> None:
            self._free += 1
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
        return await future


def _load(text: str) -> Callable[..., Any]:
    """Import a plug-in; its module may do anything, so this runs in a thread too."""
    module, _, attribute = text.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    if not callable(found):
        raise TypeError(f"{text} cannot be called")
    return found
