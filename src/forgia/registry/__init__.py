"""The registry: releases as OCI image layouts on disk, readable by tools that never heard of forgia."""
