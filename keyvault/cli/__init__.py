"""The command line: parse, call one operation, print."""

import gc

# A start allocates a hundred thousand small objects, and ten thousand records a million. They all stay alive, so the
# default thresholds make the collector scan them over and over, which takes a tenth of the first and a fifth of the
# second and finds no cycle. This must run before anything else is imported.
gc.set_threshold(50_000, 20, 50)
