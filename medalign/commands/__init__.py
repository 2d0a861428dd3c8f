"""The command line: one file a command, each only parses, calls and prints. Nothing heavy is imported here."""
