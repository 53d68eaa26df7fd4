"""Keep secrets out of output: secret and verbatim strings, detectors, the output filter."""
