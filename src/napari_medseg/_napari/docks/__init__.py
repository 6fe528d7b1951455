"""The docks: what goes in, with which method or model, Run."""
