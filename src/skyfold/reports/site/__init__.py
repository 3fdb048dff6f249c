"""The leaderboard as a static site: what each page shows, its charts, templates, style and script."""
