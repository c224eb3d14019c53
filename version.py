"""Which laminar this is; here, so that rooms can record it without importing the façade above them."""

__version__ = "0.1.0"
