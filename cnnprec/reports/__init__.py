"""Finished values as text and Markdown. Nothing is decided here."""
