"""The human gate: the review application, its own process and its own database role.

``app`` assembles it; ``desk`` holds the acts; ``dossier`` decides what one person may see of a
case, ``shown`` is the shape of it; ``sign_in`` knows sessions and CSRF, ``media`` evidence bytes;
``api`` is the REST interface, ``pages`` the HTML, ``language`` reads the catalogs of ``i18n/``,
``problems`` tells refusals and faults.
"""
