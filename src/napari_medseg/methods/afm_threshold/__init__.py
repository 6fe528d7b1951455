"""AFM cells by their height above the glass; nothing is trained."""
