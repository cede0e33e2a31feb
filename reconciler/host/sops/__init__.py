"""Files that are encrypted as the program ``sops`` does it, for age keys: read, checked, made and edited.

A document keeps its keys in the clear and encrypts its values, each with AES-256-GCM under one data key, with the
keys that lead to the value as additional data. The data key is encrypted for every recipient with age. A message
authentication code over all values keeps anybody from moving, adding or dropping one.
"""
