"""The command line: the only place where typer and rich exist. A command is parse, one core call, render."""
