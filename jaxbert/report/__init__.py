"""report.html: records of what it shows, and the one file that shows them without a network."""
