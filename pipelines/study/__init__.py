"""The study of architectures: cohorts, cells, training, probes and the page that it writes."""
