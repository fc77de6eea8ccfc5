"""What every test relies on."""

import signal
import threading

# A shell starts what it runs in the background with Ctrl-C ignored, and processes pass that on: tests that interrupt
# would wait for ever.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
