"""What operators and flows do to runs: register, submit, check, review, retain, seal, summarise."""
