"""
Rules about JWK Sets, discovery documents and their HTTP responses, and which verifiers each violation breaks.

`rules` is the table of all codes, `consumers` the verifiers that ``--for`` names. `documents` checks whole documents,
with `transport` for the address and the response, `keys` for relations between keys and `members` for single keys.
"""
