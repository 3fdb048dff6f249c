"""From a folder of earth-observation competition files to a scored, validated submission."""

__version__ = "0.1.0"
