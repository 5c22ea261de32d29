"""The chain as DeepSound-V1's released pipeline runs it, as a baseline: its order of work, precision and ways.

Written from measurements and descriptions of that pipeline, over the same checkpoint files and in PyTorch's plain
operations, so that making our own networks faster does not make the baseline faster. Where a choice would change
the samples without changing the cost (which frame is shown at an instant), it is ours, so that samples can be
compared. Left out: the language models of steps 0 and 2; what is decoded for them is decoded.
"""
