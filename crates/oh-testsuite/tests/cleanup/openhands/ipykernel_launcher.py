"""A kernel that waits."""

import signal

signal.pause()
