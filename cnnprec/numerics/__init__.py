"""What arithmetic must give: error bounds, operations, the table of probes, known defects."""
