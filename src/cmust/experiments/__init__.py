"""Tables and figures: what is compared, on which data, at what cost."""
