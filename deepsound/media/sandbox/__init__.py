"""Work on untrusted media, done by a process that may crash, hang or eat memory without taking this one along.

`pool.ask` hands a file to a guarded process and gives back what it answers, or one DeepSoundError.
"""
