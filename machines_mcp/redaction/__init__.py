"""What must never leave: secret and verbatim strings, detectors, the output filter."""
