"""From a folder of earth-observation contest files to a scored, validated submission."""
