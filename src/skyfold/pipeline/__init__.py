"""The stages from contest files to a submission; each reads what the one before wrote, and can start again."""
