"""Real-time camera vision for edge Linux machines."""

__version__ = "0.1.0"
