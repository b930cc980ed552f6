"""The fast way: prompts recorded once, and only what a patch changes run again."""
