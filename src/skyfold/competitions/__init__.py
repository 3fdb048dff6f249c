"""One file a competition; the file name is the name."""
