"""What may be asked for: a file per kind of configuration, and the one that reads YAML."""
