"""A model to oneself: for as long as it is patched or read, one thread has it, and it computes what it computes alone.

A model in memory may be in training, with dropout; compiled, so that hooks are not called; under autocast; or in use
by another thread of ours. Within `exclusive` it is none of these, and afterwards it is as it was before. A thread that
only runs the model meanwhile waits for nobody and gets the numbers it always gets, since hooks and attention functions
of ours act in the thread that set them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import nn

from selfrep.errors import SelfrepError
from selfrep.models import rotary
from selfrep.models.state import State, is_compiled, state_of

_guard = threading.Lock()
_forked = False
_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_states: WeakKeyDictionary[nn.Module, State] = WeakKeyDictionary()
"""The states of the models that are held."""


def _start_alone() -> None:
    """In a forked child, where of all threads only one is there: whoever held a lock is not."""
    global _guard, _forked
    _forked = True
    _guard = threading.Lock()
    _locks.clear()
    _states.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_start_alone)


def current_state(hf: nn.Module) -> State:
    """The state of a model: while it is held that in which it was taken, else the one it is in now.

    Example:
        >>> layer = nn.Linear(3, 3)
        >>> with exclusive(layer) as state:
        ...     current_state(layer) is state
        True
    """
    return _states.get(hf) or state_of(hf)


@contextmanager
def exclusive(hf: nn.Module, name: str = "the model") -> Iterator[State]:
    """Inside the `with` block this thread alone holds the model; others that ask for it wait. May be nested.

    The model is in evaluation mode, uncompiled, and outside of autocast and inference mode; gradients are off until
    somebody enables them. All this is put back at the end, whatever happens.

    Raises:
        SelfrepError: the weights have changed while they were held, so that what was computed belongs to no one model.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
        >>> with exclusive(model):
        ...     model.training, torch.is_grad_enabled()
        (False, False)
        >>> model.training
        True
    """
    if _forked:  # torch would wait forever for worker threads that only its parent has
        torch.set_num_threads(1)
    with _guard:
        lock = _locks.setdefault(hf, threading.RLock())
    with lock:
        if (held := _states.get(hf)) is not None:  # by this thread, further out
            yield held
            return
        with ExitStack() as stack:
            stack.enter_context(_evaluating(hf))
            if any(map(is_compiled, hf.modules())):
                stack.enter_context(_uncompiled())
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            for kind in {parameter.device.type for parameter in hf.parameters()} & {"cpu", "cuda", "mps"}:
                stack.enter_context(torch.autocast(kind, enabled=False))
            stack.enter_context(rotary.anew(hf))
            before = _states[hf] = state_of(hf)
            stack.callback(_states.pop, hf)
            yield before
            if state_of(hf).trained != before.trained:
                raise SelfrepError(
                    f"A model must not change while it is read or patched; the weights of {name} have. Its numbers "
                    "belong to no one model: wait for the training, or let selfrep run between its steps."
                )


@contextmanager
def _evaluating(hf: nn.Module) -> Iterator[None]:
    training = [module for module in hf.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


_eager: list[object] = []
"""One for each model that is held and was compiled; torch has one setting for the whole process."""
_stance = ExitStack()


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Inside, what torch.compile made runs as the plain code it was made from, hooks and all, in every thread."""
    me = object()
    with _guard:
        if not _eager:
            _stance.enter_context(torch.compiler.set_stance("force_eager"))
        _eager.append(me)
    try:
        yield
    finally:
        with _guard:
            _eager.remove(me)
            if not _eager:
                _stance.close()
