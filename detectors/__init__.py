"""Pixels in, detections out: the model catalog, object tracking, objects left behind.

One run of a detector over one capture file gives one :class:`enforcement.footage.Observation`.
"""
