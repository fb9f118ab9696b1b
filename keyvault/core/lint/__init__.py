"""
What breaks verifiers, and which: rules about JWK Sets, discovery documents and how a host sends them.

`rules` is the table of all codes, `consumers` whom a document is for; `documents` looks at whole documents, with
`transport` for the address and the answer, `keys` for keys among each other and `members` for each by itself.
"""
