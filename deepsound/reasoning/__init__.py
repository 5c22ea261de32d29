"""Steps 0 and 2: plan, then look and listen and decide whether there is voice-over."""
