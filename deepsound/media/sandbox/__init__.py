"""Runs handlers in child processes that may crash, hang or exhaust memory without harm to this process.

The parent's side is `pool` and `process`, the child's `child` and `child_channel`; `ipc` and `limits` serve both.
Nothing here knows what the handlers do: the pool is given the name of the module that holds them.
"""
