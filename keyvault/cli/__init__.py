"""The command line: parse, call one operation, print."""

import gc

# A start makes a hundred thousand small values, and ten thousand records are a million, that all stay: to look through
# them for cycles again and again takes a tenth of the one and a fifth of the other, and finds none. It is said here,
# since this is run before anything else is loaded.
gc.set_threshold(50_000, 20, 50)
