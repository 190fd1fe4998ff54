"""Scoring: new rows through a registered model."""

from forgia.scoring.files import Scored as Scored
from forgia.scoring.files import score as score
from forgia.scoring.files import score_file as score_file
from forgia.scoring.files import score_images as score_images
from forgia.scoring.model import Model as Model
from forgia.scoring.model import load_release as load_release
from forgia.scoring.rows import as_in_training as as_in_training
