"""What a person reads at the end: tables, plots and one HTML file."""
