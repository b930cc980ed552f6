"""Other libraries' functions and layouts, served by selfrep. Conversions are explicit: import what you mean."""
