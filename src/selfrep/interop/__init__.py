"""Other libraries' functions and layouts on selfrep's engine. Nothing is converted unless you import it from here."""
