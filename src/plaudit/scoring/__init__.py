"""Files of any size scored: in this process, in several, or on a Ray cluster."""
