"""How a settlement is asked for and told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from forgia.errors import UserError
from forgia_cli.quota.rendering import plain

if TYPE_CHECKING:
    from forgia.grant import Holder
    from forgia.profile import Billing, Profile
    from forgia.quota.settlement import Settlement

HOUR_S = 3600


def formulas(profiles: Iterable[Profile]) -> dict[str, Billing]:
    """Partition → what it charges; a profile without a partition speaks for all others."""
    return {profile.partition or "": profile.billing for profile in profiles if profile.billing}


def owners_of(texts: Sequence[str]) -> dict[str, Holder]:
    """Account → who pays for jobs on it that forgia did not submit. Raises: UserError — not ``account=holder``."""
    from forgia.grant import Holder

    found = {}
    for text in texts:
        account, sign, holder = text.partition("=")
        if not (account and sign and holder):
            raise UserError(f"{text!r}: write ACCOUNT=HOLDER, such as aifac_p02_042=leonardo/desk")
        found[account] = Holder.parse(holder)
    return found


def hours(billing_s: int) -> str:
    """Billing-hours, for a person; of less than a tenth the seconds, for a charge must not look like none."""
    small = 0 < abs(billing_s) < HOUR_S / 10
    return f"{billing_s} billing-s" if small else f"{billing_s / HOUR_S:,.1f} billing-h"


def settlement_text(found: Settlement, *, expired: int) -> str:
    """What a settlement did, a line each, then what should be looked at."""
    counts = [
        ("posted", found.posted, f"{hours(found.charged)} charged, {hours(found.refunded)} refunded"),
        ("known", found.known, "charged before"),
        ("quarantined", len(found.quarantined), "see forgia quota quarantine"),
        ("unmanaged", found.unmanaged, f"of those posted: jobs of nobody's, {hours(found.unmanaged_charged)}"),
        ("running", len(found.running), f"{hours(found.accrued)} until now, not charged yet"),
        ("expired", expired, "grants whose validity is over"),
    ]
    lines = [f"{word:<12} {count:>6}" + (f"  {note}" if count else "") for word, count, note in counts]
    lines += [f"quarantined {one.job_id or one.key}: {one.what}" for one in found.quarantined]
    lines += [f"remark on {one.job_id or one.key}: {one.what}" for one in found.remarks]
    lines += [f"let go: hold {key}, its job has left" for key in found.let_go]
    return "\n".join([*lines, *(f"idle: hold {key} has no job anywhere" for key in found.idle)])


def settlement_json(found: Settlement, *, expired: int) -> dict[str, Any]:
    """The same for a program; amounts in billing-seconds."""
    running = [{"key": usage.key, "job_id": usage.job_id, "billing_s": usage.billing_s} for usage in found.running]
    return {**plain(found), "running": running, "accrued": found.accrued, "expired": expired}
