"""What lasts: the journal, the ledgers, results.tsv, requests."""
