"""How the crop classifiers' weights are made: seeded scripts, run by hand, never at run time.

``python -m detectors.training.heads DATA_DIR`` and ``python -m detectors.training.blobs DATA_DIR``
read the crops described in ``docs/models/`` and write weights and figures into
``detectors/weights/``. Only rows marked ``train`` train; rows marked ``validate`` only measure.
"""
