"""What the model sees: a module per part of the journey, one function per tool."""
