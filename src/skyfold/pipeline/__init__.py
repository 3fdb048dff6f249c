"""Stages from competition files to a submission; each reads the files of the one before and resumes from its own."""
