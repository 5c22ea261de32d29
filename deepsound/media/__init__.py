"""Probes, decodes, cuts, measures, levels and muxes video and audio; all timing follows presentation times.

The modules here are what callers use. `probe`, `decode`, `extract_audio`, `excerpt` and `mux` read source files,
which may be damaged or hostile: they send a request to a sandboxed process (`sandbox`), where the module of the
same name in `in_sandbox` does the work.
"""
