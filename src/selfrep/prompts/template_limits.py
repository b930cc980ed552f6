"""Chat templates are programs of strangers: they run in a sandbox, and here they get an end.

transformers renders them in Jinja's sandbox, where a template reaches no file and no attribute that it should not. But
it may count to a billion twice over, or ask for a text of 10 GB. So powers, and products that nothing bounds, are
refused before a template runs, since a single one of them could not be interrupted; and while it runs its time, its
memory and the length of its text are limited.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS, BYTES, CHARACTERS = 2.0, 2**28, 1_000_000
"""The most that one conversation may take: a usual template takes a millisecond and a few kilobytes."""

_FILTERS = {"round", "urlize", "random", "pprint"}  # a power, a pattern, another text each time, all of an object


class TooMuch(TemplateError):
    """A template that asks for more than a conversation needs."""


class NoRoom(MemoryError):
    """The machine has no memory to watch over a template with; that is no fault of the template."""


class _Generation(Extension):
    """`{% generation %}`, which transformers knows: its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        """The body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


@lru_cache(maxsize=64)
def check(template: str) -> None:
    """Refuse what could not be interrupted while it runs.

    Raises:
        TemplateError: no Jinja; a power, a product without a small whole number in it, or a filter that no chat needs.

    Example:
        >>> check("{{ 2 ** 1000000000 }}")
        Traceback (most recent call last):
        selfrep.prompts.template_limits.TooMuch: line 1: a chat template needs no power (**)
    """
    if len(template) > CHARACTERS:
        raise TooMuch(f"it has {len(template):,} characters")
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols", _Generation])
    try:
        tree = environment.parse(template)
        for node in tree.find_all((nodes.Pow, nodes.Mul, nodes.Filter)):
            if isinstance(node, nodes.Pow):
                raise TooMuch(f"line {node.lineno}: a chat template needs no power (**)")
            if isinstance(node, nodes.Mul) and not any(map(_small, (node.left, node.right))):
                raise TooMuch(f"line {node.lineno}: a chat template multiplies by whole numbers up to 100 (*)")
            if isinstance(node, nodes.Filter) and node.name in _FILTERS:
                raise TooMuch(f"line {node.lineno}: a chat template needs no filter {node.name!r}")
    except RecursionError:
        raise TooMuch("it is nested too deeply") from None


def _small(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, int) and abs(node.value) <= 100


@contextmanager
def limited() -> Iterator[None]:
    """Inside the `with` block this thread has `SECONDS`, and the process `BYTES` more memory than it has (on Linux).

    Raises:
        TooMuch: it took longer, or asked for more.

    Example:
        >>> with limited():
        ...     text = "x" * 2**36
        Traceback (most recent call last):
        selfrep.prompts.template_limits.TooMuch: it asks for more than 256 MB of memory
    """
    with _memory():
        yield from _timed()


def _timed() -> Iterator[None]:
    thread, lock, running = ctypes.c_ulong(threading.get_ident()), threading.Lock(), [True]

    def stop() -> None:
        with lock:
            if running[0]:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_Late))

    timer = threading.Timer(SECONDS, stop)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError as error:  # can't start new thread
        raise NoRoom(str(error)) from None
    try:
        try:
            yield
        except MemoryError:
            raise TooMuch(f"it asks for more than {BYTES >> 20} MB of memory") from None
        finally:
            with lock:
                running[0] = False
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)  # one that has not arrived yet
            timer.cancel()
    except _Late:  # also one that arrived while memory was short
        raise TooMuch(f"it takes longer than {SECONDS:g} seconds") from None


class _Late(Exception):
    """Raised in the thread whose time is over."""


_bounded = threading.Lock()


@contextmanager
def _memory() -> Iterator[None]:
    """A bound of the address space of the process, where the system has one that can be read."""
    if sys.platform != "linux":
        yield
        return
    import resource

    with _bounded:
        before, most = resource.getrlimit(resource.RLIMIT_AS)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        bounds = [bound for bound in (before, most, held + BYTES) if bound != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min(bounds), most))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (before, most))
