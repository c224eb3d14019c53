"""Readers, one file a format: `sniff(path) -> bool` looks inside, `read(path) -> Episodes` reads strictly.

A format that can leave parts of its files unread sets `SELECTS = True` and has `read(path, selection) -> Episodes`.
"""
