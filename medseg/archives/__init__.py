"""Zip and tar archives, read member by member without unpacking them to disk."""
