"""What the model sees: one module per part of the journey, one function per tool."""
