"""The last words of a process that dies without a chance to speak, as one killed for memory."""

import contextlib
import os
import subprocess

import pytest

_WORDS = pytest.StashKey[int]()


def prepare(config: pytest.Config) -> None:
    """Starts a shell that shows in the end what was not taken back, and the last captured lines."""
    capture = config.pluginmanager.getplugin("capturemanager")
    words, captured = os.memfd_create("last-words"), os.dup(2)
    if capture is not None:
        capture.suspend_global_capture()
    try:
        script = f"cat; [ -s /dev/fd/{words} ] || exit 0; cat /dev/fd/{words} >&2"
        if not os.path.samestat(os.fstat(2), os.fstat(captured)):
            script += f"; echo The last lines of its output: >&2; tail -n 20 /dev/fd/{captured} >&2"
        shell = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
            ["/bin/sh", "-c", script],
            stdin=subprocess.PIPE,
            pass_fds=(words, captured),
            start_new_session=True,  # a Ctrl-C is not for it
        )
    finally:
        os.close(captured)
        if capture is not None:
            capture.resume_global_capture()

    def end() -> None:
        say(config, "")
        shell.communicate()
        os.close(words)

    config.stash[_WORDS] = words
    config.add_cleanup(end)


def say(config: pytest.Config, text: str) -> None:
    """Replaces the last words; the empty text takes them back."""
    if _WORDS in config.stash:
        with contextlib.suppress(OSError):
            os.truncate(config.stash[_WORDS], os.pwrite(config.stash[_WORDS], text.encode(), 0))
