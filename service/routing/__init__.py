"""The rules applied after a stage: one file a family, registered by name, found by looking into this folder."""
