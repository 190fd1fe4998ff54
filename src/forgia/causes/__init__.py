"""Why a run stands where it stands: the cause in one sentence, who failed first, what shows it, what to do next."""

from forgia.causes.explanation import Explanation as Explanation
from forgia.causes.explanation import Line as Line
from forgia.causes.inquiry import explain as explain
from forgia.causes.inquiry import explain_files as explain_files
