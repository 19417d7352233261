"""The base of every record that crosses a process boundary."""

from datetime import UTC
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints


class Record(BaseModel):
    """Frozen; unknown fields are errors, so that a typo never passes for a setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""An id that people write: lower case, digits, ``-`` and ``_``."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hexadecimal."""

Score = Annotated[float, Field(ge=0.0, le=1.0)]
"""A model's confidence, 0 to 1. An opinion, never a probability of guilt."""

Utc = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
"""An aware moment, turned into UTC: the same instant in another zone must not change a digest."""
