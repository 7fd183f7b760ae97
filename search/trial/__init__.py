"""One run of one train.py: started, limited, scored, sealed."""
