"""Processes whose wall clock is wrong: a library put before the C library's says what time it is.

Only the time of day is shifted, as on a machine whose clock was set wrong; durations are as long as they are.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    const char *seconds = getenv("TEST_CLOCK_AHEAD");
    return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    if (now) { now->tv_sec = exact.tv_sec; now->tv_usec = exact.tv_nsec / 1000; }
    return failed;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


def wrong_clock(folder: Path, ahead: int) -> dict[str, str]:
    """Environment of a process whose clock is so many seconds ahead; skips where nothing can compile that."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here to make a clock that is wrong")
    library = folder / "wrong_clock.so"
    if not library.exists():
        source = folder / "wrong_clock.c"
        source.write_text(_SOURCE, encoding="utf-8")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return {"LD_PRELOAD": str(library), "TEST_CLOCK_AHEAD": str(ahead)}
