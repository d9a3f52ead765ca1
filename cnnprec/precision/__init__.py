"""What a precision is: the formats, the table of precisions, what a dtype does to an optimizer."""
