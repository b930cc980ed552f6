"""Models from elsewhere whose circuit is known: compiled by Tracr, or trained to keep a compiled circuit (InterpBench).

    known = circuits.tracr("reverse")           # a folder; docs/validation.md says how to write one
    known.lm                                    # a LanguageModel like any other
    known.circuit                               # the heads and MLPs that the compiler wrote

Lindner et al. 2023 (arXiv:2301.05062); Gupta, Arcuschin et al. 2024 (arXiv:2407.14494). Folders hold numbers and JSON:
no pickle is ever opened, and nothing from a folder is run.
"""

from selfrep.models.external.interpbench import interpbench
from selfrep.models.external.known_circuit import Component, KnownCircuit
from selfrep.models.external.tracr import tracr

__all__ = ["Component", "KnownCircuit", "interpbench", "tracr"]
