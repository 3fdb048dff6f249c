"""Collect what the pages of the leaderboard show, and write them."""
