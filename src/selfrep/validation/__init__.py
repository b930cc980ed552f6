"""Every estimand marked against models whose truth is known: do the numbers find what was planted, and say so if not?

    card = selfrep.validate(quick=True)
    card.passed                     # whether every threshold was reached
    selfrep.validate(estimators={"mine": lambda view: abs(view.effects.patched.mean("pair"))})

Each organism is loaded, asked, captured and patched as any other model is, by the same public functions.
"""
