"""The report as one HTML file: summary, table, pictures; opens without a network."""
