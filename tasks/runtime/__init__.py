"""What a worker process holds while it works on items: stores, settings, leases, caches, telemetry."""
