"""Derives the summaries from results.tsv files; `python summarize_results.py --help`."""

import sys

from search.summarize import main

if __name__ == "__main__":
    sys.exit(main())
