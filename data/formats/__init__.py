"""Readers, one file a format: `sniff(path) -> bool` looks inside, `read(path) -> Episodes` reads strictly."""
