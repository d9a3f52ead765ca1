"""Finished values as text, Markdown and a page. Nothing is decided here."""
