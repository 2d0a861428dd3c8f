"""Questions: sources, cleaning, splits and preference pairs. Knows no model."""
