"""Number-by-number comparison of our networks with the reference models: `python -m tests.parity FOLDER`."""
