"""Why a training went wrong: one step replayed, causes, histograms."""
