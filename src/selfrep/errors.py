"""The one exception a user should ever see: a broken rule, the value that broke it, and the fix."""

from __future__ import annotations


class SelfrepError(Exception):
    """Bad input or an environment that cannot serve it. The command line prints the message and exits with code 2."""


class CannotReplay(SelfrepError):
    """An architecture whose blocks cannot be replayed: patched runs of it take a whole forward pass each."""
