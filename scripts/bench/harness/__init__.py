"""What every row of the benchmark shares."""
