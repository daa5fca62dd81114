"""Remote work as jobs: Ray's Jobs REST API behind one job record of our own. Ray itself is never imported."""
