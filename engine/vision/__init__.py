"""Images for models that see: decoding within limits, the grid of places, pixel values.

All of it runs in the engine process; the agent hands over bytes and never decodes any.
"""
