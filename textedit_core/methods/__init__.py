"""One technique per file: `fit` what is expensive, `edit` what is dragged. No file imports another."""
