"""Two sides measured by turns, resumable: ``cnnprec ab``."""
