"""Footage as such: frames with true times, clips, pictures with boxes, the rendered demo scenes."""
