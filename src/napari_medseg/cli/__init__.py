"""The command line: `main` parses, `commands` holds one module for each command."""
