"""The page: a search as people look at it in a browser, live, afterwards, or as one file to send."""
