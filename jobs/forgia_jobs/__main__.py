"""``python -m forgia_jobs RUN_DIR``: one rank of one attempt, as a launcher starts it."""

import sys

from forgia_jobs.meeting.launch import main

if len(sys.argv) != 2:
    sys.exit("usage: python -m forgia_jobs RUN_DIR")
sys.exit(main(sys.argv[1]))
