"""Short phrases on what was found and changed in a file, such as "rotated" or "deinterlaced"."""


def note(findings: list[str], *phrases: str) -> None:
    """Add each phrase that is not in the list yet."""
    findings.extend(phrase for phrase in phrases if phrase not in findings)
