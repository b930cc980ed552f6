"""The page to explore: any number of a run, found again by persona, item, layer and token."""
