"""The trade itself: vocabulary, geometry, rules, case lifecycle, evidence manifest, errors.

Pure: standard library and pydantic only. No I/O and no clock; the present moment is passed in.
"""
