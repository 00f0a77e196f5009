"""What a run leaves for people: result files and tables."""
