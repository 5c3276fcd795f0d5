"""The three networks of the method, with the parameter names of the published weights."""

from models.syncnet import SyncNet_color
from models.wav2lip import Wav2Lip, Wav2Lip_disc_qual

__all__ = ["SyncNet_color", "Wav2Lip", "Wav2Lip_disc_qual"]
