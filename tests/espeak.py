"""One sentence spoken by eSpeak NG: `python espeak.py VOICE < text > 16-bit samples`, sample rate on stderr.

A process of its own, because eSpeak NG carries its oscillators and random numbers from one sentence to the
next: only in a fresh process, with its seed set, does the same text give the same samples.
"""

import ctypes
import sys

import espeakng_loader

# From eSpeak NG's speak_lib.h.
_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def main() -> None:
    voice, text = sys.argv[1], sys.stdin.buffer.read()
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0 or library.espeak_SetVoiceByName(voice.encode()) != 0:
        sys.exit(f"eSpeak NG has no voice {voice}")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    library.espeak_SetSynthCallback(_write)
    library.espeak_Synth(text + b"\0", ctypes.c_size_t(len(text) + 1), 0, 1, 0, _CHARS_UTF8, None, None)
    sys.stderr.write(str(rate))


@_Callback
def _write(samples, count, _events) -> int:
    if samples and count:
        sys.stdout.buffer.write(ctypes.string_at(samples, 2 * count))
    return 0


if __name__ == "__main__":
    main()
