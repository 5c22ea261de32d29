"""The engine: step-by-step sound for video, without Prefect, SQL or a network."""
