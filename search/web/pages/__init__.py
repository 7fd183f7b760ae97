"""What each page shows, as plain values and charts for its template."""
