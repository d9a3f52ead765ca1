"""Faults that a bad driver or stack shows, injected in software, and which check sees them."""
