"""Mailboxes and workers: the only code that knows threads, and nothing of vision."""
