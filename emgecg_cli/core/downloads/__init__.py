"""Downloads of the open sets: asked for by name, resumed at any byte, and kept only when their checksum is right.

`sets` says where each set lies and how large it is, `lists` reads the lists of checksums, `transfer` brings one file,
`ledger` remembers what was verified, `archives` unpacks, `hub` asks the Hugging Face hub, and `run.download` is the one
call. Nothing is fetched unless that call is made.
"""
