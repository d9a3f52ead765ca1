"""The command ``cnnprec``, a file for each subcommand."""
