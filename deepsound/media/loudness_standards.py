"""The loudness that broadcasters ask of a delivery, as one table. Nothing here imports an audio library."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from deepsound.canonical_json import Json


@dataclass(frozen=True, slots=True)
class LoudnessStandard:
    """Integrated loudness in LUFS (also called LKFS), its tolerance in LU, and the highest true peak in dBTP."""

    lufs: float
    tolerance_lu: float
    true_peak_dbtp: float

    def is_met_by(self, lufs: float | None, true_peak_dbtp: float | None) -> bool:
        """Whether a measured sound conforms. None stands for a sound that has no loudness, or no peak."""
        return (
            lufs is not None
            and abs(lufs - self.lufs) <= self.tolerance_lu
            and (true_peak_dbtp is None or true_peak_dbtp <= self.true_peak_dbtp)
        )

    def to_json(self) -> dict[str, Json]:
        """As the parameters of a step keep it."""
        return {"lufs": self.lufs, "tolerance_lu": self.tolerance_lu, "true_peak_dbtp": self.true_peak_dbtp}


class LoudnessTarget(StrEnum):
    """What published sound is normalised to."""

    EBU_R128 = "ebu-r128"
    ATSC_A85 = "atsc-a85"
    NONE = "none"
    """Levels stay as they are."""


STANDARDS: Mapping[LoudnessTarget, LoudnessStandard] = {
    # EBU R 128 (version 4.0, 2020): the tolerance is that of quality control, not of live production.
    LoudnessTarget.EBU_R128: LoudnessStandard(-23.0, 0.2, -1.0),
    # ATSC A/85:2013, for content without metadata of its own.
    LoudnessTarget.ATSC_A85: LoudnessStandard(-24.0, 2.0, -2.0),
}
"""Every target but `none`. A further standard is a member above and a row here."""
