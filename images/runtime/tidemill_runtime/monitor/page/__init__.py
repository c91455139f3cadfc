"""The report that people read: one HTML file that needs nothing else, and the same figures as JSON."""
