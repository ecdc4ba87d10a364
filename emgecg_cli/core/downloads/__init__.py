"""Downloads of the open sets: requested by name, resumed at any byte, and kept only if their checksums are right.

`sets` says where each set lies and how large it is, `lists` reads the lists of checksums, `transfer` fetches one file,
`ledger` records what was verified, `archives` unpacks, `hub` asks the Hugging Face hub, and `run.download` is the one
call. Nothing is fetched unless that call is made.
"""
