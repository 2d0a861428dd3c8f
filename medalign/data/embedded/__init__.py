"""The question set that comes with the package: a curated table of medical facts and its phrasing."""
