"""The report of a run: one HTML page to look at, listen to and check."""
