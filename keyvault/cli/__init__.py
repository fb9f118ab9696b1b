"""The command line: parse, call one operation, print."""

import gc

# The start-up allocates a hundred thousand small objects, and reading ten thousand records a million. They all stay
# alive, so the default thresholds make the collector scan them over and over. That takes a tenth of the start-up and a
# fifth of reading the records, and finds no cycle. This must run before anything else is imported.
gc.set_threshold(50_000, 20, 50)
