"""From accepted input to a finished, stored result."""
